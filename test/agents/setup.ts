/** Before the suite: the agents are installed, or it is known why not. */
import type { TestProject } from "vitest/node";

import { installPrograms, type Programs } from "./install.ts";

declare module "vitest" {
  export interface ProvidedContext {
    programs: Programs;
  }
}

/** Runs before `setup-run.ts`, which takes the caller's OMK_ variables away. */
export async function setup(project: TestProject): Promise<void> {
  const say = (line: string) => process.stderr.write(`agents: ${line}\n`);
  const programs = await installPrograms(process.env, say);
  for (const one of Object.values(programs) as Programs[keyof Programs][]) {
    say(`${one.name} ${one.version}: ${one.bin ?? `not on this machine (${one.because})`}`);
  }
  // These two come from npm like omk's own packages do: without them the suite would be green and empty.
  for (const one of [programs.opencode, programs.kimiCode])
    if (one.bin === undefined) throw new Error(`${one.name} could not be installed: ${one.because}`);
  project.provide("programs", programs);
}
