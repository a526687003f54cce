// The least that reading a log can be: each line parsed, and nothing done with it.
const fs = require("node:fs");

const file = fs.openSync(process.argv[2], "r");
const chunk = Buffer.allocUnsafe(256 * 1024);
let carry = Buffer.alloc(0);
for (;;) {
  const got = fs.readSync(file, chunk, 0, chunk.length, null);
  if (got === 0) break;
  let start = 0;
  for (;;) {
    const newline = chunk.subarray(0, got).indexOf(10, start);
    if (newline === -1) break;
    const part = chunk.subarray(start, newline);
    JSON.parse((carry.length === 0 ? part : Buffer.concat([carry, part])).toString("utf8"));
    carry = Buffer.alloc(0);
    start = newline + 1;
  }
  carry = Buffer.concat([carry, chunk.subarray(start, got)]);
}
