import { createHash } from "node:crypto";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { NumberText } from "../../src/format/json.ts";
import { createRedactor } from "../../src/store/redact.ts";

// Put together here so that no scanner takes this file for a leak.
const alnum = (length: number) => "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7".repeat(10).slice(0, length);
const glued = (...parts: string[]) => parts.join("");
const TOKENS: Record<string, string[]> = {
  "github-token": [`ghp_${alnum(36)}`, `gho_${alnum(20)}`, glued("github_pat_", alnum(22), "_", alnum(59))],
  "gitlab-token": [`glpat-${alnum(20)}`],
  "aws-key-id": [glued("AKIA", "IOSFODNN7EXAMPLE"), glued("ASIA", "IOSFODNN7EXAMPLE")],
  "slack-token": [
    glued("xoxb-", "1234567890-", alnum(24)),
    glued("https://hooks.slack.com/services/", "T0001/B0002/", alnum(24)),
  ],
  "stripe-key": [glued("sk_", "live_", alnum(24)), glued("rk_", "test_", alnum(24))],
  "google-key": [`AIza${alnum(35)}`, `GOCSPX-${alnum(28)}`],
  "npm-token": [`npm_${alnum(36)}`],
  "pypi-token": [`pypi-AgEIcHlwaS5vcmc${alnum(60)}`],
  jwt: [`eyJ${alnum(20)}.eyJ${alnum(40)}.${alnum(43)}`],
  "model-provider-key": [
    `sk-${alnum(48)}`,
    `sk-ant-api03-${alnum(80)}`,
    `sk-proj-${alnum(48)}`,
    `sk-or-v1-${"0123456789abcdef".repeat(4)}`,
  ],
  "huggingface-token": [`hf_${alnum(34)}`],
  "digitalocean-token": [`dop_v1_${"0123456789abcdef".repeat(4)}`],
  "databricks-token": [`dapi${"0123456789abcdef".repeat(2)}`],
  "shopify-token": [`shpat_${"0123456789abcdef".repeat(2)}`],
  "sendgrid-key": [`SG.${alnum(22)}.${alnum(43)}`],
  "docker-token": [`dckr_pat_${alnum(27)}`],
  "atlassian-token": [`ATATT3${alnum(60)}`],
  "vault-token": [`hvs.${alnum(90)}`],
  "age-key": [`AGE-SECRET-KEY-1${"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".repeat(2).slice(0, 58)}`],
  "azure-key": [`AccountKey=${alnum(86)}==`],
};
const KEY_BODY = Array.from({ length: 12 }, (_, at) => alnum(64 - (at % 2)).padEnd(64, "Q")).join("\n");
const privateKey = (kind = "RSA ") =>
  `-----BEGIN ${kind}PRIVATE KEY-----\n${KEY_BODY}\nAbC=\n-----END ${kind}PRIVATE KEY-----`;

const plain = createRedactor({ environment: {} });

describe("a token of a known family", () => {
  test.each(
    Object.entries(TOKENS).flatMap(([kind, tokens]) => tokens.map((token) => [kind, token] as const)),
  )("%s is taken out wherever it stands: %s", (kind, token) => {
    const core = token.replace(/^https:.*services\/|^AccountKey=/, "");
    for (const [before, after] of [
      ["", ""],
      ["use ", " now"],
      ['"', '"'],
      ["(", ")"],
      ["x=", "&y"],
      ["…", "…\n"],
    ]) {
      const clean = plain.text(`${before}${token}${after}`);
      expect(clean).not.toContain(core);
      expect(clean).not.toContain(core.slice(8));
      expect(clean.startsWith(before ?? "")).toBe(true);
      expect(clean.endsWith(after ?? "")).toBe(true);
      expect(clean).toContain(`[REDACTED:${kind}]`);
    }
  });

  test("takes bearer credentials and private keys of 0.5.0 out, too", () => {
    expect(plain.text(`curl -H "Authorization: Bearer ${alnum(20)}" x`)).toBe(
      'curl -H "Authorization: Bearer [REDACTED:authorization]" x',
    );
    expect(plain.text(`bearer\n  ${"abcdefghij".repeat(2)} end`)).toBe("bearer\n  [REDACTED:bearer] end");
  });
});

describe("a private key", () => {
  test("goes as one piece, and what stands around it stays", () => {
    for (const kind of ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]) {
      expect(plain.text(`before\n${privateKey(kind)}\nafter`)).toBe("before\n[REDACTED:private-key]\nafter");
    }
  });

  test("goes from diffs, comments and JSON strings", () => {
    const diff = privateKey()
      .split("\n")
      .map((line) => `+${line}`)
      .join("\n");
    expect(plain.text(`+a\n${diff}\n+b`)).toBe("+a\n+[REDACTED:private-key]\n+b");
    expect(plain.text(JSON.stringify({ key: privateKey() }))).toBe('{"key":"[REDACTED:private-key]"}');
  });

  test("that is cut off goes as far as it looks like one", () => {
    const cut = privateKey().slice(0, 400);
    expect(plain.text(`${cut}\nand then prose goes on.`)).toBe(
      "[REDACTED:private-key]\nand then prose goes on.",
    );
    expect(plain.text(`${JSON.stringify(cut)} tail`)).not.toContain("aB3dE6");
    expect(plain.text("the header -----BEGIN PRIVATE KEY----- is followed by text, not by a key")).toBe(
      "the header [REDACTED:private-key] is followed by text, not by a key",
    );
  });

  test("does not swallow the text between it and another one", () => {
    const cut = privateKey().split("\n").slice(0, 5).join("\n");
    expect(plain.text(`${cut}\nprose in between\n${privateKey()}\nend`)).toBe(
      "[REDACTED:private-key]\nprose in between\n[REDACTED:private-key]\nend",
    );
  });

  test("leaves public keys and certificates alone", () => {
    const text = privateKey().replaceAll("RSA PRIVATE KEY", "CERTIFICATE");
    expect(plain.text(text)).toBe(text);
  });
});

describe("credentials in a URL", () => {
  test("go, and the URL stays", () => {
    expect(plain.text("postgres://ada:hunter2!x@db.example:5432/shop")).toBe(
      "postgres://ada:[REDACTED:url-credentials]@db.example:5432/shop",
    );
    expect(plain.text(`https://${alnum(24)}@example.com/x`)).toBe(
      "https://[REDACTED:url-credentials]@example.com/x",
    );
    expect(plain.text(`https://x-access-token:ghp_${alnum(36)}@github.com/a/b`)).not.toContain("ghp_");
  });

  test("that are placeholders, and URLs without any, stay", () => {
    for (const text of [
      "postgres://user:password@localhost/db",
      "postgres://$USER:${PASSWORD}@host",
      "https://<user>:<password>@host",
      "ssh://git@github.com/a/b.git",
      "see https://example.com:8080/a?b=c@d",
      "git@github.com:a/b.git",
      "a://b://c:d",
    ]) {
      expect(plain.text(text)).toBe(text);
    }
  });
});

describe("what is assigned to a secret-looking name", () => {
  test("goes, and its name stays", () => {
    const cases: [string, string][] = [
      ['const password = "hunter2hunter2";', 'const password = "[REDACTED:assignment]";'],
      ["DB_PASSWORD=tr0ub4dor&3x", "DB_PASSWORD=[REDACTED:assignment]&3x"],
      ["export API_KEY=Zm9vYmFyYmF6MTIz", "export API_KEY=[REDACTED:assignment]"],
      ["api-key: Zm9vYmFyYmF6MTIz0987", "api-key: [REDACTED:assignment]"],
      ['{"client_secret": "q7w8e9r0t1"}', '{"client_secret": "[REDACTED:assignment]"}'],
      ['"{\\"token\\":\\"q7w8e9r0t1\\"}"', '"{\\"token\\":\\"[REDACTED:assignment]\\"}"'],
      [
        "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1",
        "aws_secret_access_key = [REDACTED:assignment]",
      ],
      ["token := 'abcdefghijklmnopqrstuvwxyz'", "token := '[REDACTED:assignment]'"],
      [
        "tool --api-key q7w8e9r0t1 --token k3y5k3y5k3y5",
        "tool --api-key [REDACTED:assignment] --token [REDACTED:assignment]",
      ],
      ["Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [REDACTED:authorization]"],
    ];
    for (const [text, clean] of cases) expect(plain.text(text)).toBe(clean);
  });

  test("stays when it is a digest, an id, a word, a path, a time, a placeholder or code", () => {
    const untouched = [
      "token: 4b825dc642cb6eb9a060e54bf8d69288fbee4904",
      `secret = "${createHash("sha256").update("a").digest("hex")}"`,
      'token: "0b1c2d3e-1c2d-4e3f-8a9b-0123456789ab"',
      'token = "sha256:abcdef"',
      "token = getToken(request1)",
      "const token = process.env.TOKEN2;",
      "password: string;",
      "this.password = password1;",
      "token: Token | undefined,",
      'type: "password", name: "password"',
      'secret: "${SECRET_VALUE_1}"',
      "password=$PASSWORD1",
      'password: "<your-password-1>"',
      'token: "your_token"',
      'tokenType: "bearer", token: "invalid-token-error"',
      'token: "2026-05-25T10:00:00.001Z"',
      'token_file = "/run/secrets/token1"',
      'secret = "./config/secret1.json"',
      'token: "https://example.com/oauth2/token"',
      '"input_tokens": 12345678, "token_usage": {"total": 987654321}',
      "the token is 12345678 characters long; the secret: patience",
      'api_key = "***************"',
      "if (token === expected1) return",
      "task-implement-the-parser-and-its-tests-1A2B3C4D",
      "sk-folding-cube-spinner-animation-first-child",
      "integrity sha512-z7Wq8xN5pQ8sT1vW4yZ7aB3dE6gH9jK2mN5pQ8sT1vW4yZ7==",
      "npm_config_registry_url_with_a_very_long_name_indeed_1234567890",
    ];
    for (const text of untouched) expect(plain.text(text)).toBe(text);
  });
});

describe("a secret of the environment", () => {
  const secret = 'p@ss"w/rd ÄÖ+&7\\x';
  const redactor = createRedactor({
    environment: {
      SHOP_PASSWORD: secret,
      GH_TOKEN: "0123456789abcdef0123456789abcdef01234567",
      PGPASSWORD: "shopshopshop",
      DATABASE_URL: "postgres://ada:correcthorse@db/shop",
      SHORT_TOKEN: "abc",
      USER: "postgresql",
      ADMIN_PASSWORD: "postgresql",
      BORING_SECRET: "disabled",
      PIN_KEY: "12345678",
      PWD: "/home/ada/shop",
      SSH_AUTH_SOCK: "/tmp/agent.1234/socket",
      SIGNING_KEY: "/home/ada/.ssh/id_ed25519",
      TOKEN_FILE: "somewhere/token.txt",
      TOKEN_URL: "https://login.example.com/token",
      MARK_SECRET: "assignment",
      EDITOR_NAME: "visual-editor",
    },
    registered: ["registered secret value"],
  });

  test("goes as it is, and in base64, percent and JSON form", () => {
    const forms = [
      secret,
      JSON.stringify(secret),
      JSON.stringify(JSON.stringify(secret)),
      encodeURIComponent(secret),
      encodeURIComponent(secret).toLowerCase().replaceAll("%c3%84%c3%96", "%c3%84%c3%96"),
      Buffer.from(secret).toString("base64"),
      Buffer.from(secret).toString("base64url"),
      Buffer.from(`ada:${secret}`).toString("base64"),
      Buffer.from(`a:${secret}`).toString("base64"),
      Buffer.from(`"${secret}"`).toString("base64"),
    ];
    for (const form of forms) {
      const clean = redactor.text(`before ${form} after`);
      expect(clean).toMatch(/^before .*\[REDACTED:environment\].* after$/);
      for (const part of [
        secret,
        encodeURIComponent(secret),
        Buffer.from(secret).toString("base64").slice(4, 16),
      ]) {
        expect(clean).not.toContain(part);
      }
    }
  });

  test("goes although it looks like a digest, and as the password of a URL", () => {
    expect(redactor.text("is 0123456789abcdef0123456789abcdef01234567 it")).toBe(
      "is [REDACTED:environment] it",
    );
    expect(redactor.text("shopshopshop and correcthorse")).toBe(
      "[REDACTED:environment] and [REDACTED:environment]",
    );
    expect(redactor.text("a registered secret value here")).toBe("a [REDACTED:registered] here");
  });

  test("is not what is short, usual, a place, a name, or part of a mark", () => {
    const text =
      "abc postgresql disabled 12345678 /home/ada/shop /tmp/agent.1234/socket /home/ada/.ssh/id_ed25519 " +
      "somewhere/token.txt https://login.example.com/token assignment visual-editor";
    expect(redactor.text(text)).toBe(text);
  });

  test("that is a private key of several lines goes line by line", () => {
    const pem = createRedactor({ environment: { DEPLOY_KEY: privateKey() } });
    expect(pem.text(`log: ${KEY_BODY.split("\n")[3]}`)).toBe("log: [REDACTED:environment]");
  });
});

describe("a JSON value", () => {
  test("loses whole values under the keys of 0.5.0, and counts of tokens stay", () => {
    const value = {
      api_key: "a",
      APIKEY: 1,
      Token: { deep: true },
      "x-token": ["a"],
      refresh_token: "[REDACTED]",
      client_secret: "[REDACTED:key]",
      "Proxy-Authorization": "b",
      password: null,
      budget_tokens: 5,
      used_tokens: 6,
      token_usage: { input: 1 },
      tokens: [1, 2],
      secrets: "none",
    };
    const key = "[REDACTED:key]";
    expect(plain.value(value)).toEqual({
      ...value,
      api_key: key,
      APIKEY: key,
      Token: key,
      "x-token": key,
      "Proxy-Authorization": key,
    });
  });

  test("without a secret is returned itself, numbers kept as text included", () => {
    const value = { a: [{ b: "text" }, null, 1, true], n: new NumberText("5.0"), token_usage: 3 };
    expect(plain.value(value)).toBe(value);
    expect(plain.value({ ...value, s: `npm_${alnum(36)}` })).toEqual({ ...value, s: "[REDACTED:npm-token]" });
  });

  test("is not changed in place, and keeps the order of its keys", () => {
    const inner = Object.freeze([`glpat-${alnum(20)}`, "b"]);
    const value = Object.freeze({ z: 1, list: inner, a: 2 });
    const clean = plain.value(value) as object;
    expect(Object.keys(clean)).toEqual(["z", "list", "a"]);
    expect(clean).toEqual({ z: 1, list: ["[REDACTED:gitlab-token]", "b"], a: 2 });
    expect(inner[0]).toContain("glpat-");
  });

  test("loses secrets in its keys, too", () => {
    expect(plain.value({ [`npm_${alnum(36)}`]: 1 })).toEqual({ "[REDACTED:npm-token]": 1 });
  });
});

const ENVIRONMENT = {
  SHOP_SECRET: "correct-horse battery",
  LINES_TOKEN: "first line of it\nsecond line of it",
};
const secrets = [
  ...Object.values(TOKENS).flat(),
  ...Object.values(ENVIRONMENT),
  privateKey(),
  "correcthorse",
];
const noise = fc.oneof(
  fc.constantFrom(
    ..."token= |password: '|Bearer |bearer\n|authorization: basic |://|:|@|\"|'|\n|\\n| |=|[REDACTED:|]|[REDACTED:key]|-----BEGIN RSA PRIVATE KEY-----|-----END RSA PRIVATE KEY-----|--token |secret".split(
      "|",
    ),
  ),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.constantFrom("deadbeefdeadbeef", "0123456789abcdef"),
  fc.base64String({ maxLength: 80 }),
);
const noiseText = fc.array(noise, { maxLength: 8 }).map((parts) => parts.join(""));
const soup = fc
  .array(fc.oneof(noise, fc.constantFrom(...secrets)), { maxLength: 14 })
  .map((parts) => parts.join(""));
const both = createRedactor({ environment: ENVIRONMENT });

describe("for any text", () => {
  test("redacting twice is redacting once", () => {
    fc.assert(
      fc.property(soup, (text) => {
        const once = both.text(text);
        expect(both.text(once)).toBe(once);
      }),
      { numRuns: 4_000 },
    );
  });

  test("no known value and no token is left, when it stands by itself", () => {
    fc.assert(
      fc.property(noiseText, fc.constantFrom(...secrets.slice(0, -1)), noiseText, (before, secret, after) => {
        expect(both.text(`${before} \n ${secret} \n ${after}`)).not.toContain(
          secret.replace(/^https:.*services\/|^AccountKey=/, ""),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  test("digests, object ids and UUIDs stay", () => {
    const id = fc.oneof(
      fc.uuid(),
      fc.string().map((text) => createHash("sha256").update(text).digest("hex")),
      fc.string().map((text) => createHash("sha1").update(text).digest("hex")),
    );
    const name = fc.constantFrom(
      "",
      "token: ",
      "secret=",
      '"password": "',
      "--token ",
      "sha256:",
      "api_key = '",
    );
    fc.assert(
      fc.property(name, id, fc.constantFrom("", '"', "'", " ", "\n"), (before, hex, after) => {
        expect(both.text(before + hex + after)).toBe(before + hex + after);
      }),
      { numRuns: 2_000 },
    );
  });

  test("pieces of any size give the same as the whole", () => {
    const long = fc.array(fc.oneof(soup, fc.constant("an ordinary line of output\n".repeat(30))), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(
        long,
        fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 20 }),
        (parts, sizes) => {
          const text = parts.join("\n");
          const stream = both.stream();
          let out = "";
          for (let at = 0, turn = 0; at < text.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1;
            out += stream.push(text.slice(at, at + size));
            at += size;
          }
          expect(out + stream.end()).toBe(both.text(text));
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe("a stream", () => {
  test("gives out what is settled and keeps back at least 512 characters", () => {
    const stream = plain.stream();
    const line = "an ordinary line of output\n";
    const out = stream.push(line.repeat(100));
    expect(out.length).toBeGreaterThan(2_000);
    expect(out.length).toBeLessThanOrEqual(2_700 - 512);
    expect(out + stream.end()).toBe(line.repeat(100));
  });

  test("holds a private key back until its end, and does not hold text for ever", () => {
    const stream = plain.stream();
    let out = stream.push("start\n");
    for (const line of privateKey().split("\n")) out += stream.push(`${line}\n`);
    out += stream.push("x\n".repeat(1_000)) + stream.end();
    expect(out).toBe(`start\n[REDACTED:private-key]\n${"x\n".repeat(1_000)}`);
    const endless = plain.stream();
    let given = 0;
    for (let at = 0; at < 300; at++) given += endless.push("y".repeat(1_000)).length;
    expect(given).toBeGreaterThan(200_000);
  });
});

describe("time", () => {
  test("stays in proportion to the text, however it is built", () => {
    const hostile = [
      "eyJ-",
      "sk-",
      "xox",
      "a-",
      ":",
      "://",
      "://a:",
      "://:",
      "token=",
      "token=a",
      'token="a',
      "Bearer ",
      "bearer\n",
      "password : ",
      "-----BEGIN RSA PRIVATE KEY-----",
      "-----BEGIN RSA PRIVATE KEY-----\n",
      "-----BEGIN ",
      "AKIA",
      "glpat-",
      "github_pat_",
      "authorization: basic ",
      "--token ",
      "secret:",
      "api",
      "SG.",
      "eyJaaaaaaaaaa.",
      "=",
      " ",
      "\\",
      "[REDACTED:",
      "a1",
      "hooks.slack.com/services/",
    ];
    const timeOf = (text: string) => {
      const start = performance.now();
      both.text(text);
      const stream = both.stream();
      for (let at = 0; at < text.length; at += 1_000) stream.push(text.slice(at, at + 1_000));
      stream.end();
      return performance.now() - start;
    };
    const slow = hostile.filter((part) => timeOf(part.repeat(Math.ceil(200_000 / part.length))) > 2_000);
    expect(slow).toEqual([]);
  });
});

test("a token behind an escaped newline is found", () => {
  const redactor = createRedactor({ environment: {} });
  for (const before of ["\\n", "\\t", "%0A", "\\u000a", "\n"]) {
    for (const token of [`AKIA${"IOSFODNN7EXAMPLE".padEnd(16, "X")}`, `ghp_${"a1B2c3D4e5".repeat(4)}`]) {
      expect(redactor.text(`{"log":"start${before}${token}"}`), before).not.toContain(token);
    }
  }
});
