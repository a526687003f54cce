/** What to type when a budget is used up. A file of its own, since light commands print it, too. */

/** The flag of `goal budget-add` that gives more of what is used up. */
export function moreBudget(source: string | undefined): string {
  if (source === "tokens") return "--tokens 100000";
  return source === "cost" ? "--usd 1" : "--time 30m";
}
