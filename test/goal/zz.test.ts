import { test } from "vitest";
import { runGoal } from "../../src/goal/by-hand.ts";
import { verifyProof } from "../../src/goal/verify-proof.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";
test("x", async () => {
  const disk = new SimulatedDisk(GROUND);
  const ports = simulatedPorts(disk, new SimulatedProject(2), 1);
  const { open } = await runGoal({ text: "Fix the failing test", projectDir: PROJECT, untilReady: true, autoAccept: true, engine: "simulated" }, ports, new AbortController().signal, () => undefined);
  for (const [p, t] of Object.entries(disk.tree())) console.log(p, t?.length);
  const t = performance.now();
  for (let i = 0; i < 200; i++) verifyProof(open.folder, open.id, ports);
  console.log((performance.now() - t) / 200, "ms");
  console.log(disk.readFile(open.folder + "/work.json", 1e9).length, Buffer.from(disk.readFile(open.folder + "/work.json")).toString().slice(-300));
});
