#!/usr/bin/env node
"use strict";

const argv = process.argv.slice(2);

if (argv.length === 1 && (argv[0] === "--version" || argv[0] === "-V")) {
  // Before anything else is loaded: scripts and shell prompts ask for this often.
  say(1, `omk ${require("../package.json").version}\n`);
} else {
  start();
}

function start() {
  let entry;
  try {
    entry = require.resolve("../dist/main.cjs");
  } catch {
    // Only a checkout can lack it, and only before its first build; the package always carries it.
    say(2, "omk is not built yet.\nRun `npm run setup` in the omk checkout, then try again.\n");
    process.exitCode = 78;
    return;
  }
  require(entry)
    .main(argv, process)
    .then((status) => {
      process.exitCode = status;
      // Node aborts, with a core dump, when it cannot put a terminal back that is gone.
      if (status === 143 && isHungUp()) process.kill(process.pid, "SIGHUP");
    });
}

/** Whether the terminal that this process wrote to was closed. */
function isHungUp() {
  const { writeSync } = require("node:fs");
  for (const descriptor of [0, 1, 2]) {
    try {
      writeSync(descriptor, "");
    } catch (error) {
      if (error.code === "EIO") return true;
    }
  }
  return false;
}

/** Writes everything at once. Nobody listening is fine; a full pipe is tried again until it takes the rest. */
function say(descriptor, text) {
  const { writeSync } = require("node:fs");
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (error) {
      if (error.code === "EPIPE") return;
      if (error.code !== "EAGAIN") throw error;
    }
  }
}
