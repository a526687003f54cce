/** Goals on a real disk and with real git, for tests below the command line. */
import path from "node:path";

import { checkRequest, createGoal, type GoalRequest } from "../../src/goal/create.ts";
import { recoverGoal } from "../../src/goal/drive.ts";
import { OpenGoal, type GoalPorts } from "../../src/goal/open.ts";
import { openWorkspace } from "../../src/goal/workspace.ts";
import { slicedSpace, type SlicedWorkspace } from "../../src/goal/sliced-space.ts";
import { portsOf } from "../../src/team/host.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace } from "./git-place.ts";

const signal = new AbortController().signal;

/** A place with goals in slices; gone when the test ends. */
export class RealGoals extends GitPlace {
  readonly told: string[] = [];
  readonly ports: GoalPorts;

  constructor(files?: Readonly<Record<string, string>>) {
    super(files);
    const environment = { PATH: process.env["PATH"] ?? "", HOME: this.home };
    this.ports = portsOf({
      world: createWorld(),
      root: path.join(this.folder, "state"),
      uid: process.getuid?.(),
      environment,
      launcher: [process.execPath, "none"],
      tell: (line) => void this.told.push(line),
    });
  }

  /** Makes a goal that is worked on in slices. */
  create(request: Partial<GoalRequest> = {}): Promise<OpenGoal> {
    const given = {
      text: "Fix the failing test",
      projectDir: this.project,
      sliceExecution: true,
      ...request,
    };
    return createGoal(checkRequest(given, this.ports), this.ports, signal);
  }

  /** As another omk finds it that takes it over. */
  async takeOver({ id, folder }: Pick<OpenGoal, "id" | "folder">): Promise<OpenGoal> {
    const open = await OpenGoal.open(id, folder, "goal resume", this.ports, signal);
    await recoverGoal(open, this.ports);
    return open;
  }

  async work(open: OpenGoal): Promise<SlicedWorkspace> {
    return slicedSpace(await openWorkspace(open, { command: "goal run" }, this.ports, signal));
  }
}
