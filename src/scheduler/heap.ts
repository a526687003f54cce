/** A binary heap whose items know their place in it, so that one can be moved or taken out without being looked for. */

/** What lies in a heap: -1 while it lies in none. Only the heap writes it; an item lies in one heap at a time. */
export interface Placed {
  place: number;
}

/** Items in an order in which the first is always at hand. Every change takes a time logarithmic in their number. */
export class Heap<T extends Placed> {
  readonly #items: T[] = [];
  readonly #isBefore: (a: T, b: T) => boolean;

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The first item, which stays. */
  get first(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    item.place = this.#items.length;
    this.#items.push(item);
    this.#rise(item);
  }

  /** Puts an item right after what it is ordered by has changed. */
  update(item: T): void {
    this.#rise(item);
    this.#sink(item);
  }

  remove(item: T): void {
    const { place } = item;
    const last = this.#items.pop();
    item.place = -1;
    if (last === undefined || last === item) return;
    this.#put(last, place);
    this.update(last);
  }

  #put(item: T, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }

  #rise(item: T): void {
    while (item.place > 0) {
      const { place } = item;
      const above = this.#items[(place - 1) >> 1];
      if (!above || !this.#isBefore(item, above)) return;
      const free = above.place;
      this.#put(above, place);
      this.#put(item, free);
    }
  }

  #sink(item: T): void {
    for (;;) {
      const { place } = item;
      const left = this.#items[2 * place + 1];
      if (!left) return;
      const right = this.#items[2 * place + 2];
      const below = right && this.#isBefore(right, left) ? right : left;
      if (!this.#isBefore(below, item)) return;
      const free = below.place;
      this.#put(below, place);
      this.#put(item, free);
    }
  }
}
