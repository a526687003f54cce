// Does what omk uses of `gh api` and `gh auth token`, by the unix socket of the settings, and goes wrong when the file `fault` says so.
import { spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import process from "node:process";

const [folder, command, ...args] = process.argv.slice(2);
if (command === "auth" && args[0] === "token") {
  if (process.env.GH_TOKEN) process.stdout.write(`${process.env.GH_TOKEN}\n`);
  else process.stderr.write("no oauth token found for github.com\n");
  process.exit(process.env.GH_TOKEN ? 0 : 1);
}
if (command !== "api") {
  process.stderr.write(`unknown command "${command}"\n`);
  process.exit(1);
}
const given = { "--hostname": "github.com", "--method": "GET" };
let path = "";
for (let at = 0; at < args.length; at++) {
  if (args[at] === "--include") continue;
  if (args[at].startsWith("--")) given[args[at]] = args[++at];
  else path = args[at];
}
const token = process.env.GH_TOKEN;
if (!token) {
  process.stderr.write("To get started with GitHub CLI, please run:  gh auth login\n");
  process.exit(4);
}
const settings = readFileSync(join(process.env.GH_CONFIG_DIR, "config.yml"), "utf8");
const socketPath = /^http_unix_socket: (.+)$/m.exec(settings)[1];
const fault = faultFor(given["--method"]);
const body = given["--input"] === "-" ? readFileSync(0) : undefined;
const isGitHub = given["--hostname"] === "github.com";
const prefix = isGitHub ? "/" : path === "graphql" ? "/api/" : "/api/v3/";

if (fault === "dies_before") process.kill(process.pid, "SIGKILL");
else if (fault === "hangs") hang();
else if (fault === "flood") flood();
else call();

function faultFor(method) {
  let text;
  try {
    text = readFileSync(join(folder, "fault"), "utf8");
  } catch {
    return undefined; // nothing is to go wrong
  }
  const [wanted, kind] = text.split(" ");
  if (wanted !== method) return undefined;
  rmSync(join(folder, "fault"));
  return kind;
}

function hang() {
  const child = spawn("sleep", ["1000"], { stdio: "ignore" });
  writeFileSync(join(folder, "hanging"), `${process.pid} ${child.pid}`);
  setInterval(() => undefined, 1_000);
}

function flood() {
  process.stdout.write("HTTP/2.0 200 OK\n\r\n");
  process.stdout.write(Buffer.alloc(10 * 1024 * 1024, "x"));
}

function call() {
  const sent = request(
    {
      socketPath,
      method: given["--method"],
      path: prefix + path,
      headers: { authorization: `token ${token}`, ...(body && { "content-type": "application/json" }) },
    },
    (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part) => (text += part));
      answer.on("end", () => show(answer, text));
    },
  );
  sent.on("error", (error) => {
    process.stderr.write(`error connecting: ${error.message}\n`);
    process.exitCode = 1;
  });
  sent.end(body);
}

function show(answer, text) {
  if (fault === "dies_after") return process.kill(process.pid, "SIGKILL");
  if (fault === "silent") return undefined;
  const headers = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const write = (status, shown) =>
    process.stdout.write(`HTTP/2.0 ${status} ${answer.statusMessage}\n${headers.join("")}\r\n${shown}`);
  if (fault === "bad_gateway") {
    write(502, "<html><body>Bad Gateway</body></html>");
    process.exitCode = 1;
  } else if (fault === "garbage") write(answer.statusCode, "{]");
  else if (fault === "other_pull")
    write(answer.statusCode, text.replaceAll(/"(number|ref)":("?)[^",]+/g, '"$1":$29001'));
  else {
    write(answer.statusCode, text);
    if (answer.statusCode >= 400 || /"errors":/.test(text)) process.exitCode = 1;
  }
  return undefined;
}
