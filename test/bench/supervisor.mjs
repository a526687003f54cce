// Runs one gate through the runtime and prints what that cost this process.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [bundle, folder, command] = process.argv.slice(2);
const measured = createRequire(import.meta.url)(bundle);
const redactor = measured.createRedactor({ environment: process.env });
const definition = {
  name: "noisy",
  command: "sh",
  args: ["-c", command],
  required: true,
  timeout_secs: 0,
  skip: false,
  covers: [],
  env: [],
  kind: "other",
  source: "flag",
};
const run = {
  definitions: [definition],
  cwd: folder,
  logFolder: path.join(folder, "log"),
  rawFolder: path.join(folder, "raw"),
  environment: { PATH: process.env.PATH },
  tree: "0".repeat(40),
  where: "worktree",
  onStart: () => Promise.resolve(),
  onEnd: () => Promise.resolve(),
};

const before = process.cpuUsage();
const start = performance.now();
const signal = new AbortController().signal;
const [result] = await measured.runGates(run, measured.createWorld(), (text) => redactor.text(text), signal);
const wall_ms = performance.now() - start;
const { user, system } = process.cpuUsage(before);
if (result?.verdict !== "passed") throw new Error(`the gate ended as ${JSON.stringify(result)}`);
process.stdout.write(JSON.stringify({ wall_ms, cpu_ms: (user + system) / 1000, rss_kib: peakKib() }));

/** The most memory this process has had. Linux's own figure: that of `resourceUsage` is inherited from the parent. */
function peakKib() {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS;
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(fs.readFileSync("/proc/self/status", "utf8"))?.[1]);
}
