#!/usr/bin/env node
"use strict";

// `omk-goal X` is `omk goal X`. The version is the package's either way, so that question is passed on as it is.
const asksVersion = process.argv.length === 3 && ["--version", "-V"].includes(process.argv[2]);
if (!asksVersion) process.argv.splice(2, 0, "goal");
require("./omk.cjs");
