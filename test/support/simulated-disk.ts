/**
 * A disk in memory that knows what a power cut would take: bytes are safe after a completed sync of their file, names
 * after a completed sync of their folder, nothing else is. `crashStates` lists what may be left after each operation.
 *
 * The rules, on the pessimistic side of what real file systems do:
 * - Syncing a file says nothing about its name; syncing a folder says nothing about the bytes of its files.
 * - A sync covers what was written before it was called, and counts when it completes.
 * - A rename within one folder is one change. A file moved between folders may show up under both names, never under
 *   none. A folder moved between folders is one change.
 * - After a failed sync of a file the bytes it should have saved stay unsafe for ever, as the kernel may have forgotten
 *   that they were never written; a later sync that succeeds does not cover them. A folder may be synced again.
 */
import { constants } from "node:os";
import { join } from "node:path";
import { getSystemErrorMap } from "node:util";

import type { Disk, FileInfo, OpenFile } from "../../src/ports.ts";

/** What a new disk holds; all of it is durable from the start. Paths are absolute, parents are made. */
export interface DiskOptions {
  folders?: readonly string[];
  files?: Readonly<Record<string, string | Uint8Array>>;
  /** Stamps for `modifiedMs`; stands still by default. */
  nowMs?: () => number;
  /** What `freeBytes` answers; 1 TiB by default. */
  freeBytes?: number;
}

/** The calls that have a number. Looking (`stat`, `realPath`, `size`, `freeBytes`) and closing have none. */
export type DiskCall =
  | "open"
  | "create"
  | "readFile"
  | "read"
  | "list"
  | "makeFolder"
  | "write"
  | "truncate"
  | "sync"
  | "rename"
  | "link"
  | "symbolicLink"
  | "remove"
  | "removeFolder"
  | "syncFolder";

/** One numbered call of a run, counted from 1. Calls refused for their arguments (`ENOENT`, …) are not counted. */
export interface DiskOperation {
  number: number;
  call: DiskCall;
  path: string;
}

export type DiskError = "ENOSPC" | "EIO" | "EMFILE" | "short_write";

/** A failure to come: at the first call numbered `operation` or higher that can fail in this way. */
export interface DiskFault {
  operation: number;
  mode: "once" | "from_then_on";
  error: DiskError;
}

/** The machine went off: no call happens any more. Not a system error, so nobody may handle it as one. */
export class PowerCut extends Error {
  override readonly name = "PowerCut";
  constructor(number: number) {
    super(`The power was cut before disk operation ${number}.`);
  }
}

const ROOT = 1;
const LINKS_MAX = 40;
const DEFAULT_NOW_MS = Date.UTC(2026, 0, 1);

const SYSCALLS: Readonly<Record<DiskCall, string>> = {
  open: "open",
  create: "open",
  readFile: "read",
  read: "read",
  list: "scandir",
  makeFolder: "mkdir",
  write: "write",
  truncate: "ftruncate",
  sync: "fsync",
  rename: "rename",
  link: "link",
  symbolicLink: "symlink",
  remove: "unlink",
  removeFolder: "rmdir",
  syncFolder: "fsync",
};

const OPENING: ReadonlySet<DiskCall> = new Set(["open", "create", "readFile", "list", "syncFolder"]);
const GROWING: ReadonlySet<DiskCall> = new Set([
  "create",
  "makeFolder",
  "write",
  "sync",
  "rename",
  "link",
  "symbolicLink",
]);

/** Whether a call can fail in this way: `EIO` all, `EMFILE` those that open, `ENOSPC` those that take space. */
export function canFail(call: DiskCall, error: DiskError): boolean {
  switch (error) {
    case "EIO":
      return true;
    case "EMFILE":
      return OPENING.has(call);
    case "ENOSPC":
      return GROWING.has(call);
    case "short_write":
      return call === "write";
  }
}

// ---- Bytes: immutable values that share memory, so that a thousand crash states cost one copy of a log.

/** Memory that only grows behind `used`: whoever holds a shorter part of it is never disturbed. */
interface Slab {
  bytes: Uint8Array;
  used: number;
}

/** The bytes of a file, with two running hashes so that an appended line costs its own length only. */
interface Content {
  slab: Slab;
  length: number;
  a: number;
  b: number;
}

const EMPTY: Content = { slab: { bytes: new Uint8Array(0), used: 0 }, length: 0, a: 0x811c9dc5 | 0, b: 0 };

function hashed(from: Content, slab: Slab, length: number): Content {
  let { a, b } = from;
  for (let at = from.length; at < length; at++) {
    const byte = slab.bytes[at] ?? 0;
    a = Math.imul(a ^ byte, 0x01000193);
    b = (Math.imul(b, 0x9e3779b1) + byte + 1) | 0;
  }
  return { slab, length, a, b };
}

function appended(content: Content, bytes: Uint8Array): Content {
  const length = content.length + bytes.length;
  let { slab } = content;
  // Somebody has written behind our end, or the memory is full: go on in a copy.
  if (slab.used !== content.length || slab.bytes.length < length) {
    slab = { bytes: new Uint8Array(Math.max(64, Math.ceil(length * 1.5))), used: 0 };
    slab.bytes.set(content.slab.bytes.subarray(0, content.length));
  }
  slab.bytes.set(bytes, content.length);
  slab.used = length;
  return hashed(content, slab, length);
}

function resized(content: Content, length: number): Content {
  if (length > content.length) return appended(content, new Uint8Array(length - content.length));
  return length === content.length ? content : hashed(EMPTY, content.slab, length);
}

/** The bytes with others laid over them at an offset; a gap before it reads as zeros. */
function overlaid(content: Content, offset: number, bytes: Uint8Array): Content {
  if (offset >= content.length) return appended(resized(content, offset), bytes);
  const rest = content.slab.bytes.subarray(offset + bytes.length, content.length);
  const head = appended(appended(EMPTY, content.slab.bytes.subarray(0, offset)), bytes);
  return rest.length > 0 ? appended(head, rest) : head;
}

function bytesOf(content: Content): Uint8Array {
  return content.slab.bytes.slice(0, content.length);
}

// ---- Nodes: what an inode is. A node may be changed in place only by the disk that owns it.

interface NodeBase {
  mode: number;
  modifiedMs: number;
  owner: SimulatedDisk | undefined;
}
interface FileNode extends NodeBase {
  kind: "file";
  content: Content;
}
interface FolderNode extends NodeBase {
  kind: "folder";
  entries: Map<string, number>;
}
interface LinkNode extends NodeBase {
  kind: "link";
  target: string;
}
type Node = FileNode | FolderNode | LinkNode;
type Table = ReadonlyMap<number, Node>;

function copyOf(node: Node, owner: SimulatedDisk | undefined): Node {
  if (node.kind === "folder") return { ...node, entries: new Map(node.entries), owner };
  return { ...node, owner };
}

// ---- The record of a run: what each operation did to names and bytes.

interface EntryChange {
  folder: number;
  name: string;
  /** The inode that the name stands for from now on, or undefined when it is gone. */
  inode: number | undefined;
}

type DiskRecord =
  /** Each group survives or is lost as a whole; a group survives only with the one before it. */
  | {
      kind: "entries";
      number: number;
      groups: EntryChange[][];
      made: { inode: number; node: Node } | undefined;
    }
  | {
      kind: "data";
      number: number;
      inode: number;
      act: "write" | "truncate";
      before: Content;
      after: Content;
    }
  | { kind: "sync"; number: number; inode: number; upTo: number; failed: boolean }
  | { kind: "syncFolder"; number: number; inode: number; upTo: number };

type DataRecord = Extract<DiskRecord, { kind: "data" }>;

/** A change of names that no sync has covered yet. */
interface PendingEntries {
  number: number;
  changes: readonly EntryChange[];
  /** Changes that came before it to the same names: it cannot survive without those still pending. */
  needs: readonly PendingEntries[];
}

/** `safe` is covered by a sync but stands behind a write that no sync will ever cover. */
type DataState = "pending" | "forgotten" | "safe";

/** The unsynced changes of one file on top of its durable bytes. Never changed, only replaced. */
interface PendingData {
  durable: Content;
  changes: readonly { record: DataRecord; state: DataState }[];
  /** What may be left of it, worked out when first asked for: [0] is everything, [1] is nothing unsynced. */
  outcomes: Outcome[] | undefined;
}

interface Outcome {
  content: Content;
  story: string;
}

/** What is durable and what is pending at one point of a run. */
class Ledger {
  readonly table: Map<number, Node>;
  entries: PendingEntries[];
  readonly data: Map<number, PendingData>;

  constructor(table: Map<number, Node>, entries: PendingEntries[], data: Map<number, PendingData>) {
    this.table = table;
    this.entries = entries;
    this.data = data;
  }

  clone(): Ledger {
    return new Ledger(new Map(this.table), [...this.entries], new Map(this.data));
  }

  /** The same as the start of another run: what is pending came before its first operation. */
  asStart(): Ledger {
    const renumbered = new Map<PendingEntries, PendingEntries>();
    for (const pending of this.entries) {
      const needs = pending.needs.flatMap((need) => renumbered.get(need) ?? []);
      renumbered.set(pending, { number: 0, changes: pending.changes, needs });
    }
    const data = new Map<number, PendingData>();
    for (const [inode, { durable, changes }] of this.data) {
      const old = changes.map(({ record, state }) => ({ record: { ...record, number: 0 }, state }));
      data.set(inode, { durable, changes: old, outcomes: undefined });
    }
    return new Ledger(new Map(this.table), [...renumbered.values()], data);
  }

  /** Lets go of removed files: what has no name, durable or pending, comes back in no state. */
  forgetAllBut(named: ReadonlySet<number>): void {
    for (const inode of this.table.keys()) if (!named.has(inode)) this.table.delete(inode);
    for (const inode of this.data.keys()) if (!named.has(inode)) this.data.delete(inode);
    this.entries = this.entries.filter(({ changes }) => changes.some(({ folder }) => named.has(folder)));
  }

  apply(record: DiskRecord): void {
    switch (record.kind) {
      case "entries":
        return this.#addEntries(record);
      case "data":
        return this.#addData(record);
      case "sync":
        return this.#sync(record);
      case "syncFolder":
        return this.#syncFolder(record);
    }
  }

  #addEntries({ number, groups, made }: Extract<DiskRecord, { kind: "entries" }>): void {
    if (made) this.table.set(made.inode, made.node);
    let before: PendingEntries | undefined;
    for (const changes of groups) {
      const needs = before ? [before] : [];
      for (const { folder, name } of changes) {
        const last = this.entries.findLast((pending) =>
          pending.changes.some((change) => change.folder === folder && change.name === name),
        );
        if (last && !needs.includes(last)) needs.push(last);
      }
      before = { number, changes, needs };
      this.entries.push(before);
    }
  }

  #addData(record: DataRecord): void {
    const known = this.data.get(record.inode);
    this.data.set(record.inode, {
      durable: known?.durable ?? record.before,
      changes: [...(known?.changes ?? []), { record, state: "pending" }],
      outcomes: undefined,
    });
  }

  #sync({ inode, upTo, failed }: Extract<DiskRecord, { kind: "sync" }>): void {
    const known = this.data.get(inode);
    if (!known) return;
    const reached: DataState = failed ? "forgotten" : "safe";
    const changes = known.changes.map(({ record, state }) => ({
      record,
      state: state === "pending" && record.number <= upTo ? reached : state,
    }));
    const first = changes.findIndex(({ state }) => state !== "safe");
    const folded = first === -1 ? changes.length : first;
    const durable = folded > 0 ? (changes[folded - 1]?.record.after ?? known.durable) : known.durable;
    if (folded < changes.length) {
      this.data.set(inode, { durable, changes: changes.slice(folded), outcomes: undefined });
    } else this.data.delete(inode);
    const node = this.table.get(inode);
    if (node?.kind === "file") this.table.set(inode, { ...node, content: durable });
  }

  #syncFolder({ inode, upTo }: Extract<DiskRecord, { kind: "syncFolder" }>): void {
    const done = new Set<PendingEntries>();
    const take = (pending: PendingEntries): void => {
      if (done.has(pending)) return;
      done.add(pending);
      pending.needs.forEach(take);
    };
    for (const pending of this.entries) {
      const here = pending.changes.some(({ folder }) => folder === inode);
      if (here && pending.number <= upTo) take(pending);
    }
    if (done.size === 0) return;
    const touched = new Map<number, FolderNode>();
    applyEntries(
      this.entries.filter((pending) => done.has(pending)),
      this.table,
      touched,
    );
    for (const [folder, node] of touched) this.table.set(folder, node);
    this.entries = this.entries.filter((pending) => !done.has(pending));
  }
}

/** Makes the changes on copies of the folders, which end up in `into`. */
function applyEntries(pending: readonly PendingEntries[], table: Table, into: Map<number, Node>): void {
  for (const { changes } of pending) {
    for (const { folder, name, inode } of changes) {
      let node = into.get(folder);
      if (!node) {
        const durable = table.get(folder);
        if (durable?.kind !== "folder") throw new Error(`Inode ${folder} is not a folder.`);
        node = copyOf(durable, undefined);
        into.set(folder, node);
      }
      if (node.kind !== "folder") throw new Error(`Inode ${folder} is not a folder.`);
      if (inode === undefined) node.entries.delete(name);
      else node.entries.set(name, inode);
    }
  }
}

// ---- The disk.

/** What a disk stands on when it does not start from `DiskOptions`. */
interface Ground {
  base: Table;
  /** Nodes that differ from the base. */
  over: Table;
  nextInode: number;
  /** After kill -9 the page cache is still there, and with it what is still unsynced. */
  ledger: Ledger | undefined;
  nowMs: () => number;
  space: number;
}

interface Internals {
  records: readonly DiskRecord[];
  ground: Ground;
  ledgerAtStart: () => Ledger;
}

let internalsOf: (disk: SimulatedDisk) => Internals;

interface Found {
  parent: number;
  name: string;
  inode: number | undefined;
}

/** See the head of this file. Every crash state is such a disk again, so a recovery can be crashed as well. */
export class SimulatedDisk implements Disk {
  static {
    internalsOf = (disk) => ({
      records: disk.#records,
      ground: { ...disk.#ground, nextInode: disk.#nextInode, space: disk.space },
      ledgerAtStart: () => disk.#ledgerAtStart(),
    });
  }

  /** What `freeBytes` answers. */
  space: number;
  readonly #ground: Ground;
  readonly #own = new Map<number, Node>();
  readonly #records: DiskRecord[] = [];
  readonly #operations: DiskOperation[] = [];
  #nextInode: number;
  #faults: DiskFault[] = [];
  #faultsMet = 0;
  #cutAt = Number.POSITIVE_INFINITY;
  #isOff = false;
  #openFiles = 0;

  constructor(options: DiskOptions = {}, ground: Ground = groundOf(options)) {
    this.#ground = ground;
    this.#nextInode = ground.nextInode;
    this.space = ground.space;
  }

  // ---- For the harness.

  /** How many operations have been done; read it when something is acknowledged. */
  get operationCount(): number {
    return this.#operations.length;
  }

  /** The operations done so far, in order; failed ones included. */
  get operations(): readonly DiskOperation[] {
    return this.#operations;
  }

  /** How many operations failed because of `failAt`. */
  get faultsMet(): number {
    return this.#faultsMet;
  }

  /** Files opened and not closed. */
  get openFiles(): number {
    return this.#openFiles;
  }

  /** Lets operations fail; several faults may be set. A short write from then on goes over into `ENOSPC`. */
  failAt(fault: DiskFault): void {
    this.#faults.push({ ...fault });
  }

  /** Takes away the causes of failure. */
  heal(): void {
    this.#faults = [];
  }

  /** Operation `number` and everything after it throws `PowerCut`. */
  cutAfter(number: number): void {
    this.#cutAt = number;
  }

  /**
   * What the next process finds after kill -9: everything written, nothing more synced than before. Files are closed,
   * operations count from 1 again, no fault is set.
   */
  survivor(): SimulatedDisk {
    const ledger = this.#ledgerAtStart();
    for (const record of this.#records) ledger.apply(record);
    return new SimulatedDisk(
      {},
      {
        ...this.#ground,
        over: this.#copyOfChanges(),
        nextInode: this.#nextInode,
        ledger: ledger.asStart(),
        space: this.space,
      },
    );
  }

  /** A number for everything reachable: names, kinds, modes, bytes. Equal trees give equal numbers. */
  digest(): number {
    return digestOf((inode) => this.#node(inode));
  }

  /** Every path with its text, `null` for a folder, `-> target` for a link; for expectations and for looking. */
  tree(): Record<string, string | null> {
    const lines: Record<string, string | null> = {};
    const visit = (inode: number, path: string): void => {
      const node = this.#node(inode);
      if (node.kind === "file") lines[path] = new TextDecoder().decode(bytesOf(node.content));
      else if (node.kind === "link") lines[path] = `-> ${node.target}`;
      else {
        if (inode !== ROOT) lines[path] = null;
        for (const name of sortedNames(node)) visit(node.entries.get(name) ?? 0, `${path}/${name}`);
      }
    };
    visit(ROOT, "");
    return lines;
  }

  // ---- Disk.

  readFile(path: string, bytesMax: number = Number.POSITIVE_INFINITY): Uint8Array {
    const found = this.#find(path, "open", true);
    const node = this.#there(found, path, "open");
    if (node.kind !== "file") throw systemError("EISDIR", "read", path);
    this.#count("readFile", path);
    if (node.content.length > bytesMax) throw systemError("EFBIG", "read", path);
    return bytesOf(node.content);
  }

  stat(path: string): FileInfo | undefined {
    this.#mustBeOn();
    const { inode } = this.#findOrNothing(path, "lstat", false) ?? {};
    return inode === undefined ? undefined : this.#info(inode);
  }

  list(path: string): string[] {
    const node = this.#there(this.#find(path, "scandir", true), path, "scandir");
    if (node.kind !== "folder") throw systemError("ENOTDIR", "scandir", path);
    this.#count("list", path);
    return sortedNames(node);
  }

  makeFolder(path: string): void {
    const found = this.#find(path, "mkdir", false);
    if (found.inode !== undefined) throw systemError("EEXIST", "mkdir", path);
    const number = this.#count("makeFolder", path);
    this.#make(number, found, { kind: "folder", mode: 0o700, entries: new Map(), ...this.#stamp() });
  }

  open(path: string, how: "read" | "edit" | "append" | "create"): OpenFile {
    const found = this.#find(path, "open", false);
    const isNew = found.inode === undefined;
    if (how === "create" && !isNew) throw systemError("EEXIST", "open", path);
    if (isNew && (how === "read" || how === "edit")) throw systemError("ENOENT", "open", path);
    if (found.inode !== undefined) {
      const node = this.#node(found.inode);
      if (node.kind === "link") throw systemError("ELOOP", "open", path);
      if (node.kind === "folder") throw systemError("EISDIR", "open", path);
    }
    const number = this.#count(isNew ? "create" : "open", path);
    const inode =
      found.inode ??
      this.#make(number, found, { kind: "file", mode: 0o600, content: EMPTY, ...this.#stamp() });
    return this.#handle(inode, path, how === "read" || how === "edit", how !== "read");
  }

  /** Nobody is woken: what waits looks by itself. */
  watch(): () => void {
    return () => undefined;
  }

  rename(from: string, to: string): void {
    const source = this.#find(from, "rename", false, to);
    // Both folders are looked up before the names in them.
    const target = this.#find(to, "rename", false, to);
    const moved = this.#there(source, from, "rename", to);
    if (source.parent === 0 || target.parent === 0) throw systemError("EBUSY", "rename", from, to);
    if (moved.kind === "folder" && this.#isWithin(target.parent, source.inode)) {
      throw systemError("EINVAL", "rename", from, to);
    }
    // A folder that holds what is moved is full, whatever is moved: Linux looks at this before the kinds.
    if (target.inode !== undefined && this.#isWithin(source.parent, target.inode)) {
      throw systemError("ENOTEMPTY", "rename", from, to);
    }
    if (target.inode !== undefined && target.inode !== source.inode) {
      const replaced = this.#node(target.inode);
      if (moved.kind === "folder" && replaced.kind !== "folder")
        throw systemError("ENOTDIR", "rename", from, to);
      if (moved.kind !== "folder" && replaced.kind === "folder")
        throw systemError("EISDIR", "rename", from, to);
      if (replaced.kind === "folder" && replaced.entries.size > 0) {
        throw systemError("ENOTEMPTY", "rename", from, to);
      }
    }
    const number = this.#count("rename", from, to);
    // Two names of one file: POSIX leaves both.
    if (target.inode === source.inode) return;
    const arrival: EntryChange = { folder: target.parent, name: target.name, inode: source.inode };
    const departure: EntryChange = { folder: source.parent, name: source.name, inode: undefined };
    const isOneChange = source.parent === target.parent || moved.kind === "folder";
    this.#change(number, isOneChange ? [[arrival, departure]] : [[arrival], [departure]]);
  }

  link(from: string, to: string): void {
    const source = this.#find(from, "link", false, to);
    const node = this.#there(source, from, "link", to);
    const target = this.#find(to, "link", false, to);
    if (target.inode !== undefined) throw systemError("EEXIST", "link", from, to);
    if (node.kind === "folder") throw systemError("EPERM", "link", from, to);
    const number = this.#count("link", from, to);
    this.#change(number, [[{ folder: target.parent, name: target.name, inode: source.inode }]]);
  }

  symbolicLink(target: string, path: string): void {
    const found = this.#find(path, "symlink", false);
    if (found.inode !== undefined) throw systemError("EEXIST", "symlink", target, path);
    const number = this.#count("symbolicLink", path);
    this.#make(number, found, { kind: "link", mode: 0o777, target, ...this.#stamp() });
  }

  /** Seen at once; no crash state forgets it, since nothing is promised of it. */
  setMode(path: string, mode: number): void {
    const found = this.#find(path, "chmod", true);
    const node = this.#there(found, path, "chmod");
    if (found.inode !== undefined) this.#own.set(found.inode, { ...node, mode });
  }

  remove(path: string): void {
    const found = this.#find(path, "unlink", false);
    if (this.#there(found, path, "unlink").kind === "folder") throw systemError("EISDIR", "unlink", path);
    const number = this.#count("remove", path);
    this.#change(number, [[{ folder: found.parent, name: found.name, inode: undefined }]]);
  }

  removeFolder(path: string): void {
    const found = this.#find(path, "rmdir", false);
    const node = this.#there(found, path, "rmdir");
    if (node.kind !== "folder") throw systemError("ENOTDIR", "rmdir", path);
    if (found.parent === 0) throw systemError("EBUSY", "rmdir", path);
    if (node.entries.size > 0) throw systemError("ENOTEMPTY", "rmdir", path);
    const number = this.#count("removeFolder", path);
    this.#change(number, [[{ folder: found.parent, name: found.name, inode: undefined }]]);
  }

  removeTree(path: string): void {
    this.#mustBeOn();
    const { inode } = this.#findOrNothing(path, "rm", false) ?? {};
    if (inode === undefined) return;
    if (this.#node(inode).kind !== "folder") return this.remove(path);
    for (const name of this.list(path)) this.removeTree(join(path, name));
    this.removeFolder(path);
  }

  async syncFolder(path: string): Promise<void> {
    const found = this.#find(path, "open", true);
    const node = this.#there(found, path, "open");
    if (node.kind !== "folder") throw systemError("ENOTDIR", "open", path);
    const upTo = this.operationCount;
    await Promise.resolve();
    const number = this.#count("syncFolder", path);
    this.#records.push({ kind: "syncFolder", number, inode: found.inode ?? ROOT, upTo });
  }

  realPath(path: string): string | undefined {
    this.#mustBeOn();
    const found = this.#findOrNothing(path, "realpath", true);
    return found?.inode === undefined ? undefined : this.#pathOf(found);
  }

  freeBytes(path: string): number {
    this.#there(this.#find(path, "statfs", true), path, "statfs");
    return this.space;
  }

  async writeDerived(path: string, text: string): Promise<void> {
    await Promise.resolve();
    // A crash may have left one of an earlier disk, whose operations were counted from 1, too.
    let number = this.operationCount + 1;
    while (this.stat(`${path}.${number}`)) number++;
    const temporary = `${path}.${number}`;
    const file = this.open(temporary, "create");
    try {
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length;) at += file.write(bytes.subarray(at));
      file.close();
      this.rename(temporary, path);
    } catch (error) {
      file.close();
      try {
        this.remove(temporary);
      } catch {
        // The first failure is the one to tell; the leftover is what a real disk would keep too.
      }
      throw error;
    }
  }

  // ---- Numbers, faults, the cut.

  #mustBeOn(): void {
    if (this.#isOff) throw new PowerCut(this.#cutAt);
  }

  #begin(call: DiskCall, path: string): { number: number; error: DiskError | undefined } {
    this.#mustBeOn();
    const number = this.#operations.length + 1;
    if (number >= this.#cutAt) {
      this.#isOff = true;
      throw new PowerCut(this.#cutAt);
    }
    this.#operations.push({ number, call, path });
    const fault = this.#faults.find(({ operation, error }) => number >= operation && canFail(call, error));
    if (!fault) return { number, error: undefined };
    this.#faultsMet++;
    const { error } = fault;
    if (fault.mode === "once") this.#faults = this.#faults.filter((other) => other !== fault);
    else if (error === "short_write") fault.error = "ENOSPC";
    return { number, error };
  }

  #count(call: DiskCall, path: string, to?: string): number {
    const { number, error } = this.#begin(call, path);
    if (error === undefined) return number;
    throw systemError(error === "short_write" ? "ENOSPC" : error, SYSCALLS[call], path, to);
  }

  // ---- Names.

  #find(path: string, syscall: string, follow: boolean, to?: string): Found {
    this.#mustBeOn();
    if (!path.startsWith("/")) throw new Error(`The simulated disk knows absolute paths only, not ${path}.`);
    const fail = (code: string): never => {
      throw systemError(code, syscall, path, to);
    };
    /** The folders from the root to here, with their names. */
    const folders: { inode: number; name: string }[] = [{ inode: ROOT, name: "" }];
    const rest = path.split("/").reverse();
    let links = 0;
    let last: Found = { parent: 0, name: "", inode: ROOT };
    while (rest.length > 0) {
      const name = rest.pop();
      if (name === undefined || name === "" || name === ".") continue;
      const above = folders.at(-1)?.inode ?? ROOT;
      if (last.inode === undefined) fail("ENOENT");
      if (last.inode !== above) fail("ENOTDIR");
      if (name === "..") {
        if (folders.length > 1) folders.pop();
        const here = folders.at(-1);
        const parent = folders.at(-2)?.inode ?? 0;
        last = { parent, name: here?.name ?? "", inode: here?.inode ?? ROOT };
        continue;
      }
      const folder = this.#node(above);
      const inode = folder.kind === "folder" ? folder.entries.get(name) : undefined;
      last = { parent: above, name, inode };
      if (inode === undefined) continue;
      const node = this.#node(inode);
      if (node.kind === "folder") folders.push({ inode, name });
      else if (node.kind === "link" && (follow || rest.some((part) => part !== ""))) {
        if (++links > LINKS_MAX) fail("ELOOP");
        if (node.target.startsWith("/")) folders.length = 1;
        last = { parent: 0, name: "", inode: folders.at(-1)?.inode ?? ROOT };
        rest.push(...node.target.split("/").reverse());
      }
    }
    return last;
  }

  /** As `#find`, with undefined where a part of the way is missing or no folder. */
  #findOrNothing(path: string, syscall: string, follow: boolean): Found | undefined {
    try {
      return this.#find(path, syscall, follow);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "ENOENT" || code === "ENOTDIR") return undefined;
      // Links in a circle lead nowhere.
      if (code === "ELOOP" && follow) return undefined;
      throw error;
    }
  }

  #there(found: Found, path: string, syscall: string, to?: string): Node {
    if (found.inode === undefined) throw systemError("ENOENT", syscall, path, to);
    return this.#node(found.inode);
  }

  #isWithin(folder: number, above: number | undefined): boolean {
    if (above === undefined) return false;
    if (folder === above) return true;
    const node = this.#node(above);
    if (node.kind !== "folder") return false;
    return [...node.entries.values()].some((inode) => this.#isWithin(folder, inode));
  }

  #pathOf(found: Found): string {
    const search = (inode: number, path: string): string | undefined => {
      if (inode === found.inode && (found.parent === 0 || this.#node(inode).kind === "folder"))
        return path || "/";
      const node = this.#node(inode);
      if (node.kind !== "folder") return undefined;
      if (inode === found.parent && node.entries.get(found.name) === found.inode)
        return `${path}/${found.name}`;
      for (const [name, below] of node.entries) {
        const there = search(below, `${path}/${name}`);
        if (there !== undefined) return there;
      }
      return undefined;
    };
    return search(ROOT, "") ?? "/";
  }

  #change(number: number, groups: EntryChange[][], made?: { inode: number; node: Node }): void {
    for (const { folder, name, inode } of groups.flat()) {
      const node = this.#editable(folder);
      if (node.kind !== "folder") throw new Error(`Inode ${folder} is not a folder.`);
      if (inode === undefined) node.entries.delete(name);
      else node.entries.set(name, inode);
      node.modifiedMs = this.#ground.nowMs();
    }
    this.#records.push({ kind: "entries", number, groups, made });
  }

  #make(number: number, found: Found, node: Node): number {
    const inode = this.#nextInode++;
    this.#own.set(inode, node);
    const made = { inode, node: copyOf(node, undefined) };
    this.#change(number, [[{ folder: found.parent, name: found.name, inode }]], made);
    return inode;
  }

  #stamp(): Pick<NodeBase, "modifiedMs" | "owner"> {
    return { modifiedMs: this.#ground.nowMs(), owner: this };
  }

  // ---- Nodes and bytes.

  #node(inode: number): Node {
    const node = this.#own.get(inode) ?? this.#ground.over.get(inode) ?? this.#ground.base.get(inode);
    if (!node) throw new Error(`There is no inode ${inode}.`);
    return node;
  }

  #editable(inode: number): Node {
    const node = this.#node(inode);
    if (node.owner === this) return node;
    const copy = copyOf(node, this);
    this.#own.set(inode, copy);
    return copy;
  }

  #file(inode: number): FileNode {
    const node = this.#node(inode);
    if (node.kind !== "file") throw new Error(`Inode ${inode} is not a file.`);
    return node;
  }

  #info(inode: number): FileInfo {
    const node = this.#node(inode);
    const { kind, mode, modifiedMs } = node;
    const size =
      node.kind === "file" ? node.content.length : node.kind === "link" ? node.target.length : 4096;
    return { kind, size, mode, uid: 1000, modifiedMs, inode };
  }

  #handle(inode: number, path: string, mayRead: boolean, mayWrite: boolean): OpenFile {
    this.#openFiles++;
    let isOpen = true;
    const need = (allowed: boolean, call: DiskCall): void => {
      this.#mustBeOn();
      if (!isOpen || !allowed) throw systemError("EBADF", SYSCALLS[call], path);
    };
    return {
      size: () => {
        need(true, "open");
        return this.#file(inode).content.length;
      },
      modifiedMs: () => {
        need(true, "open");
        return this.#file(inode).modifiedMs;
      },
      read: (into, position) => {
        need(mayRead, "read");
        this.#count("read", path);
        const { slab, length } = this.#file(inode).content;
        const part = slab.bytes.subarray(position, Math.min(length, position + into.length));
        into.set(part);
        return part.length;
      },
      write: (bytes) => {
        need(mayWrite, "write");
        const { number, error } = this.#begin("write", path);
        const taken = error === "short_write" ? Math.floor(bytes.length / 2) : bytes.length;
        if (error !== undefined && (error !== "short_write" || taken === 0)) {
          throw systemError(error === "short_write" ? "ENOSPC" : error, "write", path);
        }
        const part = taken === bytes.length ? bytes : bytes.subarray(0, taken);
        this.#setContent(number, inode, "write", appended(this.#file(inode).content, part));
        return taken;
      },
      truncate: (size) => {
        need(mayWrite, "truncate");
        const number = this.#count("truncate", path);
        this.#setContent(number, inode, "truncate", resized(this.#file(inode).content, size));
      },
      sync: async () => {
        need(true, "sync");
        const upTo = this.operationCount;
        await Promise.resolve();
        const { number, error } = this.#begin("sync", path);
        this.#records.push({ kind: "sync", number, inode, upTo, failed: error !== undefined });
        if (error !== undefined) throw systemError(error, SYSCALLS.sync, path);
      },
      close: () => {
        if (isOpen) this.#openFiles--;
        isOpen = false;
      },
    };
  }

  #setContent(number: number, inode: number, act: "write" | "truncate", after: Content): void {
    const node = this.#editable(inode);
    if (node.kind !== "file") throw new Error(`Inode ${inode} is not a file.`);
    const before = node.content;
    node.content = after;
    node.modifiedMs = this.#ground.nowMs();
    this.#records.push({ kind: "data", number, inode, act, before, after });
  }

  #copyOfChanges(): Table {
    const all = new Map(this.#ground.over);
    for (const [inode, node] of this.#own) all.set(inode, copyOf(node, undefined));
    return all;
  }

  #ledgerAtStart(): Ledger {
    const { base, over, ledger } = this.#ground;
    if (ledger) return ledger.clone();
    const table = new Map(base);
    for (const [inode, node] of over) table.set(inode, node);
    return new Ledger(table, [], new Map());
  }
}

function groundOf(options: DiskOptions): Ground {
  const nowMs = options.nowMs ?? ((): number => DEFAULT_NOW_MS);
  const stamp = { modifiedMs: nowMs(), owner: undefined };
  const root: FolderNode = { kind: "folder", mode: 0o700, entries: new Map(), ...stamp };
  const base = new Map<number, Node>([[ROOT, root]]);
  const add = (folder: FolderNode, name: string, node: Node): void => {
    folder.entries.set(name, base.size + 1);
    base.set(base.size + 1, node);
  };
  const folderAt = (parts: readonly string[]): FolderNode => {
    let folder = root;
    for (const name of parts) {
      if (!folder.entries.has(name))
        add(folder, name, { kind: "folder", mode: 0o700, entries: new Map(), ...stamp });
      const node = base.get(folder.entries.get(name) ?? 0);
      if (node?.kind !== "folder") throw new Error(`${name} is not a folder.`);
      folder = node;
    }
    return folder;
  };
  const partsOf = (path: string): string[] => path.split("/").filter((part) => part !== "");
  for (const path of options.folders ?? []) folderAt(partsOf(path));
  for (const [path, given] of Object.entries(options.files ?? {})) {
    const bytes = typeof given === "string" ? new TextEncoder().encode(given) : given;
    const parts = partsOf(path);
    const content = appended(EMPTY, bytes);
    add(folderAt(parts.slice(0, -1)), parts.at(-1) ?? "", { kind: "file", mode: 0o600, content, ...stamp });
  }
  const space = options.freeBytes ?? 2 ** 40;
  return { base, over: new Map(), nextInode: base.size + 1, ledger: undefined, nowMs, space };
}

function sortedNames(folder: FolderNode): string[] {
  return [...folder.entries.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

function systemError(code: string, syscall: string, path: string, dest?: string): NodeJS.ErrnoException {
  const numbers: Readonly<Record<string, number>> = constants.errno;
  const errno = -(numbers[code] ?? 1);
  const words = getSystemErrorMap().get(errno)?.[1] ?? "unknown error";
  const where = dest === undefined ? `'${path}'` : `'${path}' -> '${dest}'`;
  const error = new Error(`${code}: ${words}, ${syscall} ${where}`);
  return Object.assign(error, { errno, code, syscall, path, ...(dest !== undefined && { dest }) });
}

// ---- Digests.

const nameHashes = new Map<string, number>();
const NAME_HASHES_MAX = 100_000;

function nameHash(name: string): number {
  const known = nameHashes.get(name);
  if (known !== undefined) return known;
  let hash = 0x811c9dc5 | 0;
  for (let at = 0; at < name.length; at++) hash = mixed(Math.imul(hash ^ name.charCodeAt(at), 0x01000193));
  if (nameHashes.size >= NAME_HASHES_MAX) nameHashes.clear();
  nameHashes.set(name, hash);
  return hash;
}

function mixed(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/**
 * 53 bits over a tree. Times and inode numbers are left out: they make no state worth another look. A folder adds up
 * what stands for its entries, so an order of entries means nothing and unchanged ones can be added up beforehand.
 */
class Digester {
  // The two halves travel in fields: a pair for each node would cost more than the hashing.
  a = 0;
  b = 0;
  sumA = 0;
  sumB = 0;

  result(): number {
    return (this.a >>> 11) * 2 ** 32 + (this.b >>> 0);
  }

  leaf(node: FileNode | LinkNode): void {
    if (node.kind === "file") {
      const { content } = node;
      this.a = mixed((content.a + Math.imul(content.length, 0x9e3779b1) + node.mode) | 0);
      this.b = mixed(content.b ^ Math.imul(content.length + 1, 0x7feb352d));
    } else {
      this.a = mixed(nameHash(node.target) + 1);
      this.b = mixed(this.a + 2);
    }
  }

  /** Adds the entry whose inode was digested last to the sum of its folder. */
  entry(name: string): void {
    const hash = nameHash(name);
    this.sumA = (this.sumA + mixed(hash ^ Math.imul(this.a, 0x9e3779b1))) | 0;
    this.sumB = (this.sumB + 1 + mixed((hash + Math.imul(this.b, 0x846ca68b)) ^ (this.a >>> 7))) | 0;
  }

  /** Makes the sum of a folder's entries what stands for the folder. */
  folder(mode: number): void {
    this.a = mixed((this.sumA + mode) | 0);
    this.b = mixed(this.sumB ^ 0x5bd1e995);
  }
}

function digestOf(nodeOf: (inode: number) => Node): number {
  const digester = new Digester();
  const visit = (inode: number): void => {
    const node = nodeOf(inode);
    if (node.kind !== "folder") return digester.leaf(node);
    let sumA = 0;
    let sumB = 0;
    for (const [name, below] of node.entries) {
      visit(below);
      digester.sumA = sumA;
      digester.sumB = sumB;
      digester.entry(name);
      ({ sumA, sumB } = digester);
    }
    digester.sumA = sumA;
    digester.sumB = sumB;
    digester.folder(node.mode);
  };
  visit(ROOT);
  return digester.result();
}

/** A folder at one point of a run: the sum of what no crash state changes, and the names that differ between them. */
interface Outline {
  sumA: number;
  sumB: number;
  open: string[];
}

/** What all crash states of one point have in common, so that each costs only what differs. */
class Skeleton {
  /** Inodes that have, or may have, a name in some state. */
  readonly named = new Set<number>([ROOT]);
  readonly #ledger: Ledger;
  readonly #outlines = new Map<number, Outline>();
  readonly #digester = new Digester();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    const open = new Map<number, Set<string>>();
    for (const { changes } of ledger.entries) {
      for (const { folder, name } of changes) {
        const names = open.get(folder);
        if (names) names.add(name);
        else open.set(folder, new Set([name]));
      }
    }
    this.#outline(ROOT, open);
    for (const { changes } of ledger.entries) {
      if (!changes.some(({ folder }) => this.named.has(folder))) continue;
      for (const { folder, inode } of changes) {
        this.named.add(folder);
        this.#outline(folder, open);
        if (inode === undefined) continue;
        this.named.add(inode);
        if (ledger.table.get(inode)?.kind === "folder") this.#outline(inode, open);
      }
    }
  }

  digest(over: Table): number {
    this.#visit(ROOT, over);
    return this.#digester.result();
  }

  #outline(inode: number, openOf: ReadonlyMap<number, ReadonlySet<string>>): Outline {
    const known = this.#outlines.get(inode);
    if (known) return known;
    const digester = this.#digester;
    const outline: Outline = { sumA: 0, sumB: 0, open: [...(openOf.get(inode) ?? [])] };
    this.#outlines.set(inode, outline);
    const node = this.#ledger.table.get(inode);
    if (node?.kind !== "folder") throw new Error(`Inode ${inode} is not a folder.`);
    for (const [name, below] of node.entries) {
      this.named.add(below);
      const child = this.#ledger.table.get(below);
      if (!child) throw new Error(`There is no inode ${below}.`);
      const isOpen = child.kind === "folder" && this.#outline(below, openOf).open.length > 0;
      if (openOf.get(inode)?.has(name)) continue;
      if (isOpen || this.#ledger.data.has(below)) {
        outline.open.push(name);
        continue;
      }
      this.#visit(below, NO_TABLE);
      digester.sumA = outline.sumA;
      digester.sumB = outline.sumB;
      digester.entry(name);
      outline.sumA = digester.sumA;
      outline.sumB = digester.sumB;
    }
    return outline;
  }

  #visit(inode: number, over: Table): void {
    const digester = this.#digester;
    const node = over.get(inode) ?? this.#ledger.table.get(inode);
    if (!node) throw new Error(`There is no inode ${inode}.`);
    if (node.kind !== "folder") return digester.leaf(node);
    const outline = this.#outlines.get(inode);
    if (!outline) throw new Error(`Inode ${inode} has no outline.`);
    let { sumA, sumB } = outline;
    for (const name of outline.open) {
      const below = node.entries.get(name);
      if (below === undefined) continue;
      this.#visit(below, over);
      digester.sumA = sumA;
      digester.sumB = sumB;
      digester.entry(name);
      ({ sumA, sumB } = digester);
    }
    digester.sumA = sumA;
    digester.sumB = sumB;
    digester.folder(node.mode);
  }
}

const NO_TABLE: Table = new Map();

// ---- What a crash may leave.

/** One thing that a crash may leave. */
export interface CrashState {
  /**
   * Operations up to this one were done and no later one. What was acknowledged when `operationCount` was at most
   * this must be found on `disk`.
   */
  at: number;
  /** `killed`: only the process died, and what it wrote unsynced can still be lost later. */
  cause: "killed" | "power";
  disk: SimulatedDisk;
  digest: number;
  /** False when the same tree was handed out before, at a point where less had been acknowledged. */
  isNew: boolean;
  /** In words, what was lost: for the message of a failed test. */
  story(): string;
}

export interface CrashOptions {
  /** After which operation (0 is before the first), or after each of them. "all" by default. */
  at?: number | "all";
  /** Which of too many states are taken. */
  seed: number;
  /** At most that many states at one point; all and nothing surviving are always among those tried. */
  perPointMax: number;
  /**
   * The `operationCount` at each acknowledgement, rising. A tree seen before is handed out again when more has been
   * acknowledged since, because it is then held to more.
   */
  acknowledgedAt?: readonly number[];
  /** The clock of the disks handed out; by default that of the disk. */
  nowMs?: () => number;
}

/**
 * What may be left of a recorded run, crashed after any of its operations: distinct trees, each a disk of its own.
 * Unsynced changes of names survive in any combination that keeps the order of each name, unsynced bytes wholly, not,
 * in part, or as zeros. All combinations where they are few, else a sample. Remembers only digests.
 */
export function* crashStates(
  disk: SimulatedDisk,
  options: CrashOptions,
): Generator<CrashState, void, undefined> {
  const { records, ground, ledgerAtStart } = internalsOf(disk);
  const acknowledgedAt = options.acknowledgedAt ?? [];
  const ledger = ledgerAtStart();
  const seen = new Set<number>();
  let seenSince = new Set<number>();
  let acknowledged = 0;
  const isWorthLooking = (digest: number): boolean => !seenSince.has(digest);

  const only = options.at === "all" ? undefined : options.at;
  const points = new Set([0, ...records.map(({ number }) => number), ...acknowledgedAt]);
  const wanted = only === undefined ? [...points].sort((a, b) => a - b) : [only];
  let next = 0;
  for (const at of wanted) {
    for (let record = records[next]; record && record.number <= at; record = records[++next])
      ledger.apply(record);
    const skeleton = new Skeleton(ledger);
    ledger.forgetAllBut(skeleton.named);
    const now = acknowledgedAt.filter((count) => count <= at).length;
    if (now > acknowledged) seenSince = new Set();
    acknowledged = now;
    for (const state of statesAt(at, ledger, skeleton, ground, options, isWorthLooking)) {
      const isNew = !seen.has(state.digest);
      seen.add(state.digest);
      seenSince.add(state.digest);
      yield { ...state, isNew };
    }
  }
}

/** A combination: which pending changes of names survive, and which outcome each pending file has. */
interface Choice {
  survives: boolean[];
  outcomes: number[];
}

function* statesAt(
  at: number,
  ledger: Ledger,
  skeleton: Skeleton,
  ground: Ground,
  options: CrashOptions,
  isWorthLooking: (digest: number) => boolean,
): Generator<Omit<CrashState, "isNew">, void, undefined> {
  const { entries } = ledger;
  const files = [...ledger.data].map(([inode, pending]) => ({ inode, outcomes: outcomesOf(pending) }));
  const positions = new Map(entries.map((pending, position) => [pending, position]));
  const needs = entries.map((pending) => pending.needs.flatMap((need) => positions.get(need) ?? []));
  // Shared by all states of this point; made when the first one is handed out, as many points bring nothing new.
  let base: Table | undefined;
  let found = 0;

  for (const choice of choicesAt(
    needs,
    files.map(({ outcomes }) => outcomes.length),
    at,
    options,
  )) {
    const over = new Map<number, Node>();
    applyEntries(
      entries.filter((_, position) => choice.survives[position]),
      ledger.table,
      over,
    );
    files.forEach(({ inode, outcomes }, position) => {
      const node = ledger.table.get(inode);
      const content = outcomes[choice.outcomes[position] ?? 0]?.content;
      if (node?.kind === "file" && content && content !== node.content) over.set(inode, { ...node, content });
    });
    const digest = skeleton.digest(over);
    if (!isWorthLooking(digest)) continue;
    base ??= new Map(ledger.table);
    const isWhole = choice.survives.every(Boolean) && choice.outcomes.every((outcome) => outcome === 0);
    const left: Ground = {
      base,
      over,
      nextInode: ground.nextInode,
      ledger: isWhole ? ledger.asStart() : undefined,
      nowMs: options.nowMs ?? ground.nowMs,
      space: ground.space,
    };
    yield {
      at,
      cause: isWhole ? "killed" : "power",
      disk: new SimulatedDisk({}, left),
      digest,
      story: () => storyOf(at, choice, entries, files),
    };
    if (++found >= options.perPointMax) return;
  }
}

const EVERYTHING = 0;
const NOTHING = 1;

/** Combinations worth trying, the telling ones first, each closed under `needs`; bounded in number. */
function* choicesAt(
  needs: readonly number[][],
  outcomeCounts: readonly number[],
  at: number,
  { seed, perPointMax }: CrashOptions,
): Generator<Choice, void, undefined> {
  const random = seeded(seed ^ Math.imul(at + 1, 0x9e3779b1));
  const closed = (wish: (position: number) => boolean): boolean[] => {
    const survives: boolean[] = [];
    needs.forEach((need, position) => {
      survives.push(wish(position) && need.every((other) => survives[other]));
    });
    return survives;
  };
  const every = (outcome: number): number[] => outcomeCounts.map(() => outcome);
  const all = closed(() => true);
  const none = closed(() => false);

  yield { survives: all, outcomes: every(EVERYTHING) };
  yield { survives: none, outcomes: every(NOTHING) };
  if (needs.length === 0 && outcomeCounts.length === 0) return;
  const combinations = outcomeCounts.reduce((product, count) => product * count, 2 ** needs.length);
  if (combinations <= perPointMax * 4) {
    const order = shuffled(combinations, random);
    for (const number of order) {
      let rest = Math.floor(number / 2 ** needs.length);
      const outcomes = outcomeCounts.map((count) => {
        const outcome = rest % count;
        rest = Math.floor(rest / count);
        return outcome;
      });
      const bits = number % 2 ** needs.length;
      const wish = (position: number): boolean => Math.floor(bits / 2 ** position) % 2 === 1;
      // A wish that needs what is not wished for repeats another number.
      const survives = closed(wish);
      if (survives.every((kept, position) => kept === wish(position))) yield { survives, outcomes };
    }
    return;
  }

  yield { survives: all, outcomes: every(NOTHING) };
  yield { survives: none, outcomes: every(EVERYTHING) };
  const telling: (() => Choice)[] = [];
  outcomeCounts.forEach((count, file) => {
    for (let outcome = NOTHING; outcome < count; outcome++) {
      const outcomes = every(EVERYTHING).with(file, outcome);
      telling.push(() => ({ survives: all, outcomes }));
    }
  });
  needs.forEach((_, position) => {
    telling.push(() => ({ survives: closed((other) => other !== position), outcomes: every(EVERYTHING) }));
    telling.push(() => ({ survives: closed((other) => other !== position), outcomes: every(NOTHING) }));
    telling.push(() => {
      const chain = new Set<number>();
      const take = (other: number): void => {
        if (chain.has(other)) return;
        chain.add(other);
        needs[other]?.forEach(take);
      };
      take(position);
      return { survives: closed((other) => chain.has(other)), outcomes: every(EVERYTHING) };
    });
  });
  for (const index of shuffled(telling.length, random)) {
    const choice = telling[index]?.();
    if (choice) yield choice;
  }
  for (let sample = 0; sample < perPointMax * 4; sample++) {
    const likelihood = 0.2 + 0.6 * random();
    yield {
      survives: closed(() => random() < likelihood),
      outcomes: outcomeCounts.map((count) => Math.floor(random() * count)),
    };
  }
}

/** How many of the latest unsynced changes of a file are lost one by one. */
const LATEST = 6;

/**
 * What happened to one unsynced change: kept, lost, only its size kept (zeros), only its later half kept (its pages are
 * written in any order), or only that many of its first bytes written.
 */
type Fate = "kept" | "lost" | "zeros" | "later_half" | number;

function outcomesOf(pending: PendingData): Outcome[] {
  if (pending.outcomes) return pending.outcomes;
  const { changes } = pending;
  const unsafe = changes.flatMap(({ state }, position) => (state === "safe" ? [] : [position]));
  const outcomes: Outcome[] = [];
  const known = new Set<string>();
  const add = (story: string, fateOf: (position: number) => Fate): void => {
    const content = composed(pending, (position) =>
      changes[position]?.state === "safe" ? "kept" : fateOf(position),
    );
    const key = `${content.length} ${content.a} ${content.b}`;
    // The first two have fixed places, so they are kept even when they are the same.
    if (known.has(key) && outcomes.length >= 2) return;
    known.add(key);
    outcomes.push({ content, story });
  };

  add("kept", () => "kept");
  add("lost", () => "lost");
  const last = unsafe.at(-1) ?? 0;
  const { before, after } = changes[last]?.record ?? { before: EMPTY, after: EMPTY };
  const size = after.length - before.length;
  if (changes[last]?.record.act === "write") {
    for (const taken of new Set([Math.floor(size / 2), size - 1, 1])) {
      if (taken > 0 && taken < size)
        add(`last write torn after ${taken} bytes`, (at) => (at === last ? taken : "kept"));
    }
    add("last write is zeros", (at) => (at === last ? "zeros" : "kept"));
    if (size > 1) add("last write begins with zeros", (at) => (at === last ? "later_half" : "kept"));
  }
  if (unsafe.length > 1) {
    add("all writes are zeros", () => "zeros");
    add("only the last change kept", (at) => (at === last ? "kept" : "lost"));
    for (const position of unsafe.slice(-LATEST - 1, -1)) {
      const { record } = changes[position] ?? {};
      add(`lost after operation ${record?.number}`, (at) => (at <= position ? "kept" : "lost"));
      add(`operation ${record?.number} alone lost`, (at) => (at === position ? "lost" : "kept"));
      const half = record ? Math.floor((record.after.length - record.before.length) / 2) : 0;
      if (record?.act === "write" && half > 0) {
        add(`torn in operation ${record.number}`, (at) =>
          at < position ? "kept" : at === position ? half : "lost",
        );
      }
    }
  }
  pending.outcomes = outcomes;
  return outcomes;
}

function composed({ durable, changes }: PendingData, fateOf: (position: number) => Fate): Content {
  let content = durable;
  // As long as nothing was lost the bytes are those the run saw, and need no copy.
  let isAsSeen = true;
  changes.forEach(({ record }, position) => {
    const { act, before, after } = record;
    const fate = fateOf(position);
    if (fate === "kept" && isAsSeen) {
      content = after;
      return;
    }
    const wasAsSeen = isAsSeen;
    isAsSeen = false;
    if (act === "truncate") {
      if (fate === "kept") content = resized(content, after.length);
      return;
    }
    if (fate === "lost") return;
    const end = typeof fate === "number" ? before.length + fate : after.length;
    if (typeof fate === "number" && wasAsSeen) {
      content = hashed(before, after.slab, end);
      return;
    }
    const bytes = after.slab.bytes.slice(before.length, end);
    if (fate === "zeros") bytes.fill(0);
    else if (fate === "later_half") bytes.fill(0, 0, Math.ceil(bytes.length / 2));
    content = overlaid(content, before.length, bytes);
  });
  return content;
}

function storyOf(
  at: number,
  choice: Choice,
  entries: readonly PendingEntries[],
  files: readonly { inode: number; outcomes: readonly Outcome[] }[],
): string {
  const names = entries.map(({ number, changes }, position) => {
    const what = changes.map(({ folder, name, inode }) => `${folder}/${name}=${inode ?? "gone"}`).join(", ");
    return `  names, operation ${number} (${what}): ${choice.survives[position] ? "kept" : "lost"}`;
  });
  const bytes = files.map(
    ({ inode, outcomes }, position) =>
      `  bytes of inode ${inode}: ${outcomes[choice.outcomes[position] ?? 0]?.story ?? "kept"}`,
  );
  return [`crash after operation ${at}`, ...names, ...bytes].join("\n");
}

/** Numbers in [0, 1) that depend on the seed alone. */
function seeded(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    return (mixed(mixed(state) ^ 0x27d4eb2f) >>> 0) / 2 ** 32;
  };
}

function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] ?? 0, order[last] ?? 0];
  }
  return order;
}
