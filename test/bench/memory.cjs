// Says at the end how much memory the process had at most, in MB. The system's own account of it would begin with what the
// parent had.
process.on("exit", () => {
  const fs = require("node:fs");
  const seen = /VmHWM:\s*(\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))?.[1];
  if (seen !== undefined) fs.writeSync(2, `maxrss ${Math.round(Number(seen) / 1024)}\n`);
});
