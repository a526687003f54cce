/** A project with three broken functions, and the plan and turns that mend them one after another. */

export const GOAL = "Fix the failing tests of sum, mul and neg";

/** The three functions, in the order in which they are mended. */
export const PARTS = ["sum", "mul", "neg"] as const;
type Part = (typeof PARTS)[number];

const BROKEN = { sum: "a - b", mul: "a + b", neg: "a" } as const;
const RIGHT = { sum: "a + b", mul: "a * b", neg: "-a" } as const;
const EXPECTED = { sum: 5, mul: 6, neg: -2 } as const;

function source(part: Part, body: string): string {
  return `export function ${part}(a, b) {\n  return ${body};\n}\n`;
}

function testOf(part: Part): string {
  return [
    'import assert from "node:assert";',
    'import test from "node:test";',
    `import { ${part} } from "./${part}.js";`,
    "",
    `test("${part}", () => assert.strictEqual(${part}(2, 3), ${EXPECTED[part]}));`,
    "",
  ].join("\n");
}

/** The files of the project, all three functions broken. */
export const THREE_PARTS: Readonly<Record<string, string>> = {
  "package.json": '{ "type": "module", "scripts": { "test": "node --test" } }\n',
  ...Object.fromEntries(
    PARTS.flatMap((part) => [
      [`${part}.js`, source(part, BROKEN[part])],
      [`${part}.test.js`, testOf(part)],
    ]),
  ),
};

/** The planner's turn: three parts, the last of which waits for the others. */
export function partPlan(): { match: { role: string }; steps: object[] } {
  const slices = PARTS.map((part) => ({
    id: part,
    title: `Mend ${part}`,
    description: `The function in ${part}.js is wrong.`,
    write_set: [`${part}.js`],
    dependencies: part === "neg" ? ["sum", "mul"] : [],
    acceptance: [`The test of ${part} passes.`],
  }));
  return { match: { role: "plan" }, steps: [{ say: JSON.stringify({ kind: "repair", slices }) }] };
}

/** The turn that mends one function, however often it is taken. */
export function fixing(part: Part): { match: { role: string; task: string }; steps: object[] } {
  return {
    match: { role: "work", task: `*-${PARTS.indexOf(part)}` },
    steps: [{ write: `${part}.js`, text: source(part, RIGHT[part]) }, { say: `${part} mended` }],
  };
}

/** All turns of a run whose second part fails twice: its agent crashes, and then is killed. */
export function failingTwice(): object[] {
  return [
    partPlan(),
    fixing("sum"),
    { match: { role: "work", task: "*-1", attempt: 1 }, steps: [{ crash: 3 }] },
    { match: { role: "work", task: "*-1", attempt: 2 }, steps: [{ say: "half" }, { crash: "SIGKILL" }] },
    fixing("mul"),
    fixing("neg"),
  ];
}
