/** What a file holds once an edit is done to it that was allowed: what an agent then has us write must be that. */
import { pathsOf } from "./command-fields.ts";
import type { PermissionRequest } from "./engine.ts";
import { asRecord } from "./rpc.ts";

/** What agents call a whole new text in the input of a tool, and the parts of an edit. */
const WHOLE_KEYS = ["content", "contents", "file_text"];
const EDIT_KEYS = [
  ["old_string", "new_string"],
  ["old_str", "new_str"],
  ["old_text", "new_text"],
  ["oldText", "newText"],
] as const;

interface Edit {
  /** What is replaced; null: whatever the file holds. */
  old: string | null;
  new: string;
  everywhere: boolean;
}

/** What a file holds: null when it is not there, undefined when that is no text or too much of it. */
type Before = string | null | undefined;

/** Whether leave for that request is leave for the file to hold this text. */
export function isApprovedText(
  allowed: Pick<PermissionRequest, "locations" | "rawInput" | "content">,
  file: { path: string; before: Before; text: string },
): boolean {
  const { path, before, text } = file;
  const diffs = allowed.content.map(asRecord).filter(({ type }) => type === "diff");
  const shown = diffs.filter((diff) => diff["path"] === path).map(editOf);
  const input = asRecord(allowed.rawInput);
  const named = pathsOf(input);
  const isOfIt = named.length > 0 ? named.every((one) => one === path) : allowed.locations.length === 1;
  const said = isOfIt ? editsIn(input, before) : [];
  // Where both tell, both have to tell the same: nobody knows which of them was looked at.
  const told = [shown, said].filter((edits) => edits.length > 0);
  return told.length > 0 && told.every((edits) => applied(edits, before) === text);
}

/** The edits that a tool's input spells out; none where it does not. */
function editsIn(input: Record<string, unknown>, before: Before): (Edit | undefined)[] {
  const whole = WHOLE_KEYS.map((key) => input[key]).find((value) => typeof value === "string");
  if (typeof whole === "string") {
    const isAppended = input["mode"] === "append";
    return [{ old: null, new: isAppended ? (before ?? "") + whole : whole, everywhere: false }];
  }
  const listed: unknown = input["edits"];
  const all: unknown[] = Array.isArray(listed) ? listed : [input];
  const edits = all.map(editOf);
  return Array.isArray(listed) || edits[0] ? edits : [];
}

/** One replacement; undefined where that is no edit that we can do. */
function editOf(record: unknown): Edit | undefined {
  const fields = asRecord(record);
  const names = EDIT_KEYS.find(([, name]) => typeof fields[name] === "string");
  if (!names) return undefined;
  const [old, text] = names.map((name) => fields[name]);
  if (typeof text !== "string") return undefined;
  const everywhere = fields["replace_all"] === true;
  return { old: typeof old === "string" ? old : "", new: text, everywhere };
}

/** The text after the edits, one after the other; undefined where one cannot be done, or could be done in several ways. */
function applied(edits: readonly (Edit | undefined)[], before: Before): string | undefined {
  let text = before === null ? "" : before;
  for (const edit of edits) {
    if (!edit) return undefined;
    const { old, everywhere } = edit;
    if (old === null || old === text) {
      text = edit.new;
      continue;
    }
    // Nothing that is replaced by something: in a file that holds more it could stand anywhere, or for all of it.
    const parts: string[] = old === "" || text === undefined ? [] : text.split(old);
    if (parts.length < 2 || (parts.length > 2 && !everywhere)) return undefined;
    text = parts.join(edit.new);
  }
  return text;
}
