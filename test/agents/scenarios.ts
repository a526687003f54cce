/** What the model says in the suite, and how its failures look. */
import type { Scenario, Step, Usage } from "./model-server.ts";

/** Fits every prompt of the suite's goal. */
const HELLO = /hello\.txt/;

/** The file as the goal wants it. */
export const WRITE_HELLO = { path: "hello.txt", content: "hello\n" };
/** A command that does the same. */
export const SHELL_HELLO = "echo hello > hello.txt";
/** Different for each call, so that sums cannot be right by chance. */
export const USAGES: readonly Usage[] = [
  { input: 1_200, output: 34 },
  { input: 1_500, output: 21 },
];

/** Does these things one after the other and says that it is done. */
export function hello(...steps: Step[]): Scenario[] {
  return [
    {
      name: "hello",
      when: HELLO,
      steps: [...steps, { say: "It says hello." }].map((step, at) => ({
        usage: USAGES[at] ?? USAGES[0]!,
        ...step,
      })),
    },
  ];
}

/** Two subtasks, done at the same time: each waits until the test has seen both. */
export function twoParts(act: (name: string) => Step): Scenario[] {
  const parts = ["one", "two"].map((name) => ({
    id: `make-${name}`,
    description: `Part ${name}: the file ${name}.txt must contain the word ${name}.`,
    write_set: [`${name}.txt`],
  }));
  return [
    { name: "decompose", when: /You plan work for/, steps: [{ say: JSON.stringify(parts) }] },
    { name: "synthesize", when: /Several agents have worked/, steps: [{ say: "Both parts are there." }] },
    {
      name: "part",
      when: /Part (one|two): the file/,
      steps: ([, name = ""]) => [{ pause: name, ...act(name) }, { say: `Part ${name} is there.` }],
    },
  ];
}

/** As OpenAI and those who copy it say these things. */
export const FAILURES: Readonly<Record<"auth" | "quota" | "rate_limit", NonNullable<Step["fail"]>>> = {
  auth: {
    status: 401,
    body: {
      error: {
        message: "Incorrect API key provided.",
        type: "invalid_request_error",
        code: "invalid_api_key",
      },
    },
  },
  quota: {
    status: 403,
    body: {
      error: {
        message: "You exceeded your current quota, please check your plan and billing details.",
        type: "insufficient_quota",
        code: "insufficient_quota",
      },
    },
  },
  rate_limit: {
    status: 429,
    headers: { "retry-after": "1" },
    body: {
      error: {
        message: "Rate limit reached for requests.",
        type: "requests",
        code: "rate_limit_exceeded",
      },
    },
  },
};
