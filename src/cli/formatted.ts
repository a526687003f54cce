/** Records of a goal that can be printed as text, Markdown or themselves. */
import { createRedactor } from "../store/redact.ts";
import type { App } from "./app.ts";

/** `--format`, and its shortcut `--json`. */
export interface FormatFlags {
  json: boolean;
  format?: "text" | "json" | "md";
}

/** Prints a record in the format asked for; secrets of the environment that it may hold are taken out. */
export function printFormatted<T>(
  app: App,
  record: T,
  render: { text: (record: T) => string; md: (record: T) => string },
  flags: FormatFlags,
): void {
  const redactor = createRedactor({ environment: app.io.env });
  const format = flags.json ? "json" : (flags.format ?? "text");
  const shown = redactor.value(record) as T;
  app.output.result(
    shown,
    () => redactor.text(format === "md" ? render.md(shown) : render.text(shown)),
    format === "json",
  );
}
