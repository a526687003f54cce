import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  isEngineName,
  isTestedMajor,
  presetEnvironment,
  presetNamed,
  PRESETS,
  type AgentPreset,
} from "../../src/engine/presets.ts";

describe("the table of presets", () => {
  test("has each name once, and none that means something else as an engine", () => {
    const names = PRESETS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) {
      expect(name).toMatch(/^[a-z][a-z-]*$/);
      expect(["auto", "acp", "wire", "command", "scripted"]).not.toContain(name);
      expect(presetNamed(name)?.name).toBe(name);
    }
    expect(presetNamed("nobody")).toBeUndefined();
  });

  test.each(PRESETS.map((preset) => [preset.name, preset] as const))(
    "holds what omk needs of %s",
    (_, preset) => {
      // Without arguments, Kimi's last Python release fetches an installer and runs it.
      expect(preset.versionArgs.length).toBeGreaterThan(0);
      expect(preset.program).toMatch(/^[a-z][a-z0-9-]*$/);
      expect(preset.install).not.toBe("");
      expect(preset.login).not.toBe("");
      expect(preset.memoryMiB).toBeGreaterThan(0);
      for (const version of preset.tested) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
      // Read and written alike is what its client files are for; reading alone would only slow it down.
      if (preset.client.readFiles) expect(preset.client.writeFiles).toBe(true);
      if (preset.failures === "session_log") expect(preset.usage.tokens).toBe("session_log");
      if (preset.modes.readOnly !== null) expect(preset.modes.readOnly).not.toBe(preset.modes.ask);
    },
  );

  test("gives every headless command exactly one place for the prompt", () => {
    const commands = PRESETS.flatMap(({ headless }) =>
      headless ? [headless.args, headless.readOnlyArgs] : [],
    );
    const places = commands.map((args) => args?.filter((word) => word === "{prompt}").length ?? 1);
    expect(new Set(places)).toEqual(new Set([1]));
  });

  test("names a twin that is there, speaks another protocol and goes by the same program", () => {
    for (const preset of PRESETS.filter(({ twin }) => twin !== null)) {
      const twin = presetNamed(preset.twin?.preset ?? "");
      expect(twin?.program).toBe(preset.program);
      expect(twin?.protocol).not.toBe(preset.protocol);
      expect(twin?.twin).toBeNull();
    }
  });

  test("lets nobody see the variables that are omk's own or that load code into a process", () => {
    const caller = {
      OMK_TEST: "1",
      OMK_SPAWN_ID: "x",
      LD_PRELOAD: "x",
      NODE_OPTIONS: "x",
      GITHUB_TOKEN: "x",
    };
    for (const preset of PRESETS) {
      const given = presetEnvironment(preset, caller);
      for (const name of Object.keys(caller)) expect(Object.keys(given), preset.name).not.toContain(name);
    }
  });
});

describe("what an agent sees of the environment", () => {
  const preset: Pick<AgentPreset, "environment"> = {
    environment: { pass: ["KEY", "OWN_*"], set: { UPDATES: "off" }, setToAsk: { ASK: "yes" } },
  };

  test("is what its preset lists, what omk sets, and what makes it ask where somebody answers", () => {
    const caller = { KEY: "k", KEY_2: "no", OWN_: "", OWN_A: "a", HOME: "/home", UNSET: undefined };
    const all = { KEY: "k", OWN_: "", OWN_A: "a", UPDATES: "off" };
    expect(presetEnvironment(preset, caller)).toEqual({ ...all, ASK: "yes" });
    expect(presetEnvironment(preset, caller, false)).toEqual(all);
  });

  test("is the user's own setting where there is one, whatever omk would set", () => {
    const name = fc.constantFrom("KEY", "OWN_X", "UPDATES", "ASK", "constructor", "OTHER");
    fc.assert(
      fc.property(fc.dictionary(name, fc.string()), fc.boolean(), (caller, isAsked) => {
        const given = presetEnvironment(preset, caller, isAsked);
        for (const [key, value] of Object.entries(given)) {
          if (Object.hasOwn(caller, key)) expect(value).toBe(caller[key]);
        }
        expect(Object.hasOwn(given, "OTHER")).toBe(false);
        expect(Object.hasOwn(given, "constructor")).toBe(false);
        expect(given["UPDATES"]).toBe(caller["UPDATES"] ?? "off");
        if (isAsked) expect(given["ASK"]).toBe(caller["ASK"] ?? "yes");
        else expect(given["ASK"]).toBeUndefined();
      }),
    );
  });

  test("makes opencode ask, unless the user has said what it may do", () => {
    const opencode = presetNamed("opencode");
    if (!opencode) throw new Error("opencode is not in the table");
    expect(JSON.parse(presetEnvironment(opencode, {})["OPENCODE_PERMISSION"] ?? "")).toEqual({
      edit: "ask",
      bash: "ask",
    });
    expect(presetEnvironment(opencode, { OPENCODE_PERMISSION: "{}" })["OPENCODE_PERMISSION"]).toBe("{}");
    expect(presetEnvironment(opencode, {}, false)["OPENCODE_PERMISSION"]).toBeUndefined();
  });
});

test("a version is told by its major whether it was tried", () => {
  const preset = { tested: ["1.18.33"] };
  expect(isTestedMajor(preset, "1.99.0")).toBe(true);
  expect(isTestedMajor(preset, "opencode v2.0.1 (linux)")).toBe(false);
  expect(isTestedMajor(preset, null)).toBeUndefined();
  expect(isTestedMajor(preset, "unknown")).toBeUndefined();
  expect(isTestedMajor({ tested: [] }, "1.0.0")).toBeUndefined();
});

test.each([
  ["auto", true],
  ["opencode", true],
  ["kimi:headless", true],
  ["acp:my agent --acp", true],
  ["command:sh run.sh {prompt}", true],
  ["nope", false],
  ["acp:", false],
  ["nope:headless", false],
  ["", false],
])("%j is a name of an engine: %s", (text, isOne) => {
  expect(isEngineName(text)).toBe(isOne);
});
