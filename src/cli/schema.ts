/** `omk schema`: the formats of the files omk writes, as JSON Schema. */
import { OmkError } from "../errors.ts";
import { jsonSchema, schemaNames } from "../format/schemas.ts";
import type { App } from "./app.ts";

/** Prints one schema, or the names of all. */
export function schemaCommand(app: App, name: string | undefined): void {
  if (name === undefined) {
    app.output.text(schemaNames().join("\n"));
    return;
  }
  const schema = jsonSchema(name);
  if (schema === undefined) {
    throw new OmkError("schema.unknown", `There is no format called ${name}.`, {
      hint: `Known names: ${schemaNames().join(", ")}.`,
    });
  }
  app.output.result(schema, () => "", true);
}
