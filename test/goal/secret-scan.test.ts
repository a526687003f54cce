import { createHash } from "node:crypto";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { allowedBy, parseAllowList, readAllowList } from "../../src/goal/allowed-secrets.ts";
import { scanBinary, scanChange, scanChanges } from "../../src/goal/secret-scan.ts";
import { blockingFindings } from "../../src/goal/review-findings.ts";
import type { TreeChange } from "../../src/git/work-tree.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { patchOf } from "../support/patches.ts";
import { readAllBy } from "../support/read-all.ts";

const TOKEN = `ghp_${"a1B2".repeat(9)}`;
const redactor = createRedactor({ environment: { DEPLOY_TOKEN: "correct-horse-battery" } });
const never = new AbortController().signal;

function scan(text: string, allowed = allowedBy([])) {
  return scanChanges({ text, truncated: false }, redactor, allowed);
}

/** Scans a change whose files are given; what is not in the patch can be read. */
function scanFiles(
  files: Readonly<Record<string, string | Buffer>>,
  patch: { text: string; truncated?: boolean } = { text: "" },
  changes: Partial<TreeChange>[] = [],
) {
  const named = Object.keys(files).map((path) => ({ path }));
  const full = [...named, ...changes].map((one) => ({
    path: "",
    kind: "added" as const,
    old_mode: null,
    new_mode: "100644",
    ...one,
  }));
  const readAll = readAllBy((_tree, path, bytesMax) => {
    const content = files[path];
    const bytes = content === undefined ? undefined : Buffer.from(content);
    return bytes && bytes.length <= bytesMax ? bytes : undefined;
  });
  const change = {
    tree: { readAll },
    base: "b",
    result: "r",
    changes: full,
    patch: { truncated: false, ...patch },
  };
  return scanChange(change, redactor, allowedBy([]), never);
}

describe("the secret scan", () => {
  const found: [string, string, string][] = [
    ["a token of a known family", `const key = "${TOKEN}";`, "github-token"],
    ["a key id", "AKIAABCDEFGHIJKLMNOP", "aws-key-id"],
    ["a secret of this machine's environment", "echo correct-horse-battery", "environment"],
    ["an assignment", 'password: "hunter2-Uf93kd82"', "assignment"],
    ["an assignment to a name with a prefix", 'GITHUB_TOKEN = "k3jh4k5j6h7k8j9h"', "assignment"],
    ["an assignment without quotes", "export API_KEY=k3jh4k5j6h7k8j9h", "assignment"],
    ["a private key", "-----BEGIN RSA PRIVATE KEY-----", "private-key"],
    ["credentials in a URL", "postgres://app:x7Kd93mQp2@db.example.com/app", "url-credentials"],
  ];
  test.each(found)("finds %s in an added line, with its place and without its value", (_name, text, kind) => {
    const findings = scan(patchOf("src/a.js", [" one", `+${text}`, " three"]));
    expect(findings).toMatchObject([{ path: "src/a.js", line: 2, kind }]);
    expect(["high", "critical"]).toContain(findings[0]?.severity);
    expect(JSON.stringify(findings)).not.toContain(text);
  });

  test.each(found)("finds no %s in a line that is removed or only stands beside", (_name, text) => {
    expect(scan(patchOf("src/a.js", [` ${text}`, `-${text}`, "+harmless"]))).toEqual([]);
  });

  test.each([
    [".env", "DB_PASSWORD=correcthorse"],
    ["deploy/prod.env", "export ADMIN_PASSWD='correct-horse'"],
    ["config/app.yaml", "  password: wrong-donkey-charger"],
    ["settings.toml", 'admin_password = "correct.horse"'],
    ["app.properties", "spring.datasource.password=s3cretly!"],
  ])("finds a plain password in %s: %s", (path, text) => {
    const findings = scan(patchOf(path, [`+${text}`]));
    expect(findings).toMatchObject([{ path, kind: "assignment" }]);
  });

  test.each([
    ["app.yaml", "password: ${DB_PASSWORD}"],
    ["app.yaml", "password: {{ .Values.password }}"],
    ["app.yaml", "password: changeme-please"],
    ["app.yaml", "password: Passwort"],
    ["app.yaml", "passwordFile: /run/secrets/password"],
    ["locales/de.yaml", "password: Ihr-Passwort-hier"],
    [".env.example", "DB_PASSWORD=your-password-here"],
    ["a.js", "const password = form.password;"],
    ["a.py", "password = getpass()"],
    ["settings.toml", 'password = "must have eight characters"'],
  ])("takes none for a password in %s: %s", (path, text) => {
    expect(scan(patchOf(path, [`+${text}`]))).toEqual([]);
  });

  test("takes a mark that was there before for no secret", () => {
    expect(scan(patchOf("log.txt", ["+token: [REDACTED:github-token]"]))).toEqual([]);
  });

  test("names the first secret of a line once, and every line", () => {
    const findings = scan(patchOf("a.js", [`+${TOKEN} ${TOKEN}`, "+fine", `+${TOKEN}`]));
    expect(findings.map(({ line }) => line)).toEqual([1, 3]);
  });

  test("gives a finding the id it had, wherever its line moves to, and other findings other ids", () => {
    const [first] = scan(patchOf("a.js", [`+const key = "${TOKEN}";`]));
    const [moved] = scan(patchOf("a.js", ["+one", "+two", `+  const key = "${TOKEN}";`]));
    const [other] = scan(patchOf("a.js", [`+const second = "${TOKEN}";`]));
    expect(moved?.id).toBe(first?.id);
    expect(other?.id).not.toBe(first?.id);
  });

  test("says when the change was too large to be seen whole", () => {
    expect(scanChanges({ text: "", truncated: true }, redactor)).toMatchObject([{ kind: "oversized_file" }]);
  });

  test("lists a hundred findings, and says in one more that there are others", () => {
    const lines = Array.from({ length: 500 }, () => `+${TOKEN}`);
    const findings = scan(patchOf("a.js", lines));
    expect(findings).toHaveLength(101);
    expect(findings.at(-1)).toMatchObject({ kind: "more_found", severity: "critical", path: "" });
    expect(scan(patchOf("a.js", lines.slice(0, 100)))).toHaveLength(100);
  });

  test("blocks for what it did not list, whatever a person lets pass", () => {
    const lines = Array.from({ length: 101 }, (_, n) => `+const key${n} = "${TOKEN}";`);
    const findings = scan(patchOf("a.js", lines));
    const waivers = findings.map(({ id: what }) => ({
      kind: "finding" as const,
      what,
      reason: "a fixture",
      at: "2026-01-01T00:00:00Z",
    }));
    const left = blockingFindings({ pass: "security", findings }, waivers);
    expect(left.map(({ kind }) => kind)).toEqual(["more_found"]);
  });

  test("never tells a value, whatever stands around it", () => {
    const around = fc.string({
      unit: fc.constantFrom("a", "=", '"', "'", " ", ":", "[", "]", "\\", "\t", "token"),
      maxLength: 30,
    });
    const secret = fc.string({
      unit: fc.constantFrom("a", "B", "7", "z", "Q"),
      minLength: 20,
      maxLength: 40,
    });
    fc.assert(
      fc.property(
        around,
        around,
        secret,
        fc.constantFrom("a.js", ".env", "a.yaml", "x"),
        (left, right, value, path) => {
          const token = `ghp_${value}`;
          const findings = scan(patchOf(path, [`+${left}${token}${right}`]));
          expect(JSON.stringify(findings)).not.toContain(value);
        },
      ),
    );
  });

  test("takes time in proportion to the text, whatever it is made of", { timeout: 20_000 }, () => {
    for (const piece of [
      "password",
      "password=",
      "token: ",
      'secret="',
      "-----BEGIN ",
      "a=",
      "://",
      '"',
      " ",
      "[REDACTED:",
    ]) {
      const line = piece.repeat(Math.ceil(400_000 / piece.length));
      const before = performance.now();
      scan(patchOf(".env", [`+${line}`]));
      expect(performance.now() - before).toBeLessThan(4_000);
    }
  });
});

describe("what the patch does not show", () => {
  test("is read: one zero byte, or two bytes for each letter, hide nothing", async () => {
    const line = `key=${TOKEN}`;
    const files = {
      "zero.bin": Buffer.from(`\0\0\n${line}\n`),
      "wide.bin": Buffer.from(line, "utf16le"),
      "plain.dat": Buffer.from("\0nothing here"),
    };
    const findings = await scanFiles(files);
    expect(findings.map(({ path, kind, line: at }) => [path, kind, at])).toEqual([
      ["zero.bin", "github-token", null],
      ["wide.bin", "github-token", null],
    ]);
  });

  test("is a finding of its own when it is too large, which no task is made of", async () => {
    const findings = await scanFiles({}, undefined, [{ path: "big.bin" }]);
    expect(findings).toMatchObject([{ path: "big.bin", kind: "oversized_file", severity: "medium" }]);
  });

  test("is read where the patch was cut off, the file at the cut included", async () => {
    const text = patchOf("a.js", ["+fine"]) + patchOf("b.js", ["+half"]);
    const files = { "a.js": "fine\n", "b.js": `half\n${TOKEN}\n`, "c.js": `${TOKEN}\n` };
    const findings = await scanFiles(files, { text, truncated: true });
    expect(findings.map(({ path, line }) => `${path}:${line}`)).toEqual(["b.js:2", "c.js:1"]);
  });

  test("tells of names of files: secrets in them, and those that hold keys", async () => {
    const files = { [`notes-${TOKEN}.txt`]: "", "keys/id_rsa": "", "cert.p12": "", "id_rsa.pub": "" };
    const findings = await scanFiles(files);
    expect(findings.map(({ kind }) => kind)).toEqual(["github-token", "key_file", "key_file"]);
    expect(JSON.stringify(findings)).not.toContain(TOKEN);
  });

  test("tells of links that leave the project, and of no others", async () => {
    const link = (path: string, target: string) =>
      patchOf(path, [`+${target}`, "\\ No newline at end of file"]);
    const text = link("a/out", "../../etc") + link("a/in", "../b") + link("abs", "/etc/passwd");
    const changes = ["a/out", "a/in", "abs"].map((path) => ({ path, new_mode: "120000" }));
    const findings = await scanFiles({}, { text }, changes);
    expect(findings.map(({ path, kind }) => [path, kind])).toEqual([
      ["a/out", "symlink_escape"],
      ["abs", "symlink_escape"],
    ]);
  });

  test("is told once for each file that is no text, however often it stands there", () => {
    expect(scanBinary("a.bin", Buffer.from(`\0${TOKEN}\0${TOKEN}\0`), redactor)).toHaveLength(1);
    const many = `${TOKEN}\0`.repeat(50);
    const kinds = scanBinary("a.bin", Buffer.from(`${many}AKIAABCDEFGHIJKLMNOP\0`), redactor);
    expect(kinds.map(({ kind }) => kind)).toEqual(["github-token", "aws-key-id"]);
  });
});

describe("the list of allowed secrets", () => {
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const list = (text: string) => allowedBy(parseAllowList(Buffer.from(text)));
  const patch = patchOf("test/fixtures/a.js", [`+const key = "${TOKEN}";`]);

  test.each([
    ["the path", 'path = "test/fixtures/**"'],
    ["the digest of the value", `sha256 = "${sha256(TOKEN)}"`],
    ["the digest of the line", `sha256 = "${sha256(`const key = "${TOKEN}";`)}"`],
    ["both", `path = "test/**"\nsha256 = "${sha256(TOKEN).toUpperCase()}"`],
  ])("lets pass what is named by %s", (_name, keys) => {
    expect(scan(patch)).toHaveLength(1);
    expect(scan(patch, list(`[[allow]]\n${keys}\nreason = "a fixture"`))).toEqual([]);
  });

  test.each([
    ["another path", 'path = "src/**"'],
    ["another value", `sha256 = "${sha256("x")}"`],
    ["the value elsewhere", `path = "src/**"\nsha256 = "${sha256(TOKEN)}"`],
  ])("lets nothing pass for %s", (_name, keys) => {
    expect(scan(patch, list(`[[allow]]\n${keys}\nreason = "a fixture"`))).toHaveLength(1);
  });

  test("tells private keys apart by their path alone", () => {
    const header = "-----BEGIN RSA PRIVATE KEY-----";
    const key = patchOf("test/key.pem", [`+${header}`]);
    expect(scan(key, list(`[[allow]]\nsha256 = "${sha256(header)}"\nreason = "r"`))).toHaveLength(1);
    expect(scan(key, list('[[allow]]\npath = "test/key.pem"\nreason = "r"'))).toEqual([]);
  });

  test("lets no second value pass because it stands beside an allowed one", () => {
    const other = `ghp_${"z9Y8".repeat(9)}`;
    const both = patchOf("a.js", [`+["${TOKEN}", "${other}"]`]);
    expect(scan(both, list(`[[allow]]\nsha256 = "${sha256(TOKEN)}"\nreason = "r"`))).toHaveLength(1);
  });

  test.each([
    ["no TOML", "[[allow", "line 1"],
    ["an entry that names nothing", '[[allow]]\nreason = "r"', "Expected a path or a sha256"],
    ["no reason", '[[allow]]\npath = "a"', "reason"],
    ["a digest that is none", '[[allow]]\nsha256 = "12"\nreason = "r"', "SHA-256"],
    ["a path that leads out", '[[allow]]\npath = "../a"\nreason = "r"', "inside the project"],
    ["a key that is misspelt", '[[allow]]\npath = "a"\nreason = "r"\nsha265 = "1"', "sha265"],
    ["bytes that are no text", Buffer.from([0xff, 0xfe, 0x00]), "UTF-8"],
  ])("is an error with %s", (_name, text, said) => {
    const broken = () => parseAllowList(Buffer.from(text));
    expect(broken).toThrow(said);
    expect(broken).toThrow(expect.objectContaining({ code: "config.invalid", exitStatus: 78 }) as Error);
  });

  test("is that of the base: what appears later is left out and told", async () => {
    const said: string[] = [];
    const tree = {
      root: "/p",
      read: () => Promise.resolve(undefined),
      files: () => Promise.resolve(["a.js"]),
    };
    const ports = {
      disk: { stat: () => ({ kind: "file" }) as never },
      tell: (line: string) => void said.push(line),
    };
    expect(await readAllowList(tree, "base", ports, never)).toEqual([]);
    expect(said).toEqual([expect.stringContaining("is left out")]);
  });
});
