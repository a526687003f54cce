// Holds what the takeover benchmark takes over, says so, and stays until it is killed or its parent has gone.
import { createRequire } from "node:module";

const [kind, place, given] = process.argv.slice(2);

if (kind === "chain") {
  const measured = createRequire(import.meta.url)(given);
  const request = { command: "bench holder", what: "The chain of the benchmark" };
  await measured.claimChain(place, request, measured.createWorld(), new AbortController().signal);
} else {
  const { default: lockfile } = await import("proper-lockfile");
  await lockfile.lock(place, { stale: Number(given) });
}
process.stdin.resume().on("end", () => process.exit(0));
process.stdout.write("held\n");
