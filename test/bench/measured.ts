/** What the benchmarks call of the runtime, bundled the way the command line ships. */
export { defaultSettings } from "../../src/config/settings.ts";
export { FRAME_LIMITS, FrameReader, encodeFrame } from "../../src/engine/frames.ts";
export { engineNamed } from "../../src/engine/select.ts";
export { runGates } from "../../src/gate/run.ts";
export { readGoal } from "../../src/goal/find.ts";
export { Scheduler } from "../../src/scheduler/scheduler.ts";
export { claimChain } from "../../src/store/claim-chain.ts";
export { CHAIN_START } from "../../src/store/event-line.ts";
export { EventLog } from "../../src/store/event-log.ts";
export { replaceFile } from "../../src/store/files.ts";
export { Journal } from "../../src/store/journal.ts";
export { createRedactor } from "../../src/store/redact.ts";
export { tasksOf } from "../../src/team/decompose.ts";
export { change, changeTask, OpenRun } from "../../src/team/open.ts";
export { resumeRun } from "../../src/team/run.ts";
export { createWorld } from "../../src/world.ts";
