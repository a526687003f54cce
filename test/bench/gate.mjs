// A gate that writes a gigabyte: the time against the shell alone, and what the supervisor itself spends.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { interleave, median, result, timeProcess } from "./measure.mjs";

export const names = ["gate/1g"];

export async function* run(_wanted, { folder: parent, bundle, environment, quick }) {
  const folder = path.join(parent, "gate");
  fs.mkdirSync(folder);
  const bytes = quick ? 200_000_000 : 1_000_000_000;
  const command = (count) => `yes 'ok 1 - a test with a name of some length' | head -c ${count}`;
  const spent = [];
  const idle = supervise(command(1), { folder, bundle, environment });
  const times = await interleave(quick ? 3 : 5, {
    gate() {
      const one = supervise(command(bytes), { folder, bundle, environment });
      spent.push(one);
      return one.wall_ms;
    },
    shell() {
      const file = path.join(folder, "shell.out");
      const ms = timeProcess(["sh", "-c", `(${command(bytes)}) > ${file}`], {
        cwd: folder,
        env: environment,
      });
      fs.rmSync(file);
      return ms;
    },
  });
  const cpu = median(spent.map((one) => one.cpu_ms)) - idle.cpu_ms;
  const memory = (median(spent.map((one) => one.rss_kib)) - idle.rss_kib) / 1024;
  const note = `${bytes / 1e6} MB; supervisor +${cpu.toFixed(0)} ms CPU, +${memory.toFixed(0)} MiB at its peak`;
  yield result("gate/1g", times.gate, times.shell, { target: 1.1, note });
}

/** Runs one gate in a process of its own, which says what it spent. */
function supervise(command, { folder, bundle, environment }) {
  const place = fs.mkdtempSync(path.join(folder, "run-"));
  const script = path.join(import.meta.dirname, "supervisor.mjs");
  const done = spawnSync(process.execPath, [script, bundle, place, command], {
    encoding: "utf8",
    env: environment,
    timeout: 5 * 60_000,
  });
  fs.rmSync(place, { recursive: true });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`the supervisor ended with ${done.status}: ${done.stderr}`);
  return JSON.parse(done.stdout);
}
