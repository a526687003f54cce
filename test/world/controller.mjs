// A controller for the tests of the guardian: starts every shell script it is given as a child of omk's own spawner, says
// "up", and then does what its stdin says: "run <script>" for a short command, "die" at once, "exit" normally.
import { createRequire } from "node:module";
import readline from "node:readline";

const { bundle, guardian, folder, scripts, dies } = JSON.parse(process.argv[2]);
const { createWorld } = createRequire(import.meta.url)(bundle);
const { processes, random } = createWorld({
  spawnChain: process.env.OMK_SPAWN_ID,
  guardian: { argv: () => guardian, tell: (line) => console.log(`told: ${line}`) },
});
const { PATH, MARK } = process.env;
const env = { PATH, MARK };

for (const script of scripts) {
  processes.spawn({
    argv: ["sh", "-c", script],
    cwd: folder,
    env,
    spawnId: random.name(16),
    stdin: "none",
    stdout: "pipe",
    stderr: "pipe",
  });
}
// Before the guardian has had time to load.
if (dies) process.kill(process.pid, "SIGKILL");
console.log("up");

for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line === "exit") break;
  if (line === "die") process.kill(process.pid, "SIGKILL");
  if (line.startsWith("run ")) {
    const argv = ["sh", "-c", line.slice(4)];
    void processes.run({ argv, cwd: folder, env, timeoutMs: 60_000, outputBytesMax: 1_000 });
  }
}
process.exit(0);
