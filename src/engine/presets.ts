/**
 * The agents omk knows by name: how each is started, what it may see, and how it behaves. Data, so that a new release of an
 * agent is a changed line here. What is said was seen with the version in `tested`, unless `unseen` says otherwise.
 */

/** Who reads what a headless program prints; `text` is for programs that print what they have to say. */
export type OutputReaderId = "text" | "opencode" | "kimi" | "gemini" | "claude" | "codex";

/** Where the tokens and the cost of a turn are told. */
export interface UsageSource {
  /**
   * `prompt_result_turn` and `prompt_result_last_call`: with the result of the prompt, for the whole turn or for its last
   * model call; `session_log`: in a file of the agent; `meta_quota`: in `_meta.quota.token_count` of the result; `events`:
   * step by step while the turn runs.
   */
  readonly tokens:
    | "prompt_result_turn"
    | "prompt_result_last_call"
    | "session_log"
    | "meta_quota"
    | "events"
    | "none";
  /** Whether its input tokens count those read from a cache: then they are taken off. */
  readonly inputHoldsCache: boolean;
  /** `usage_update`: the running total of the session, so the last value is taken off. */
  readonly cost: "usage_update" | "none";
}

/** How an agent is run for one turn without anybody to ask. */
export interface HeadlessStart {
  /** Looked for in PATH. */
  readonly program: string;
  /** Arguments; `{prompt}` stands for the prompt. */
  readonly args: readonly string[];
  /** The same without leave to change files, where the agent has such a mode. */
  readonly readOnlyArgs: readonly string[] | null;
  readonly output: OutputReaderId;
}

/** What is known about one agent. */
export interface AgentPreset {
  /** What `--engine` takes. */
  readonly name: string;
  readonly title: string;
  readonly protocol: "acp" | "wire";
  /** Looked for in PATH. */
  readonly program: string;
  /** The arguments with which it speaks the protocol on its stdio. */
  readonly args: readonly string[];
  /** The arguments with which it prints its version. Never none: one agent would then download an installer. */
  readonly versionArgs: readonly [string, ...string[]];
  /**
   * Another program goes by the same name: when these arguments make it print JSON with this key, the named preset is
   * what was found.
   */
  readonly twin: { readonly args: readonly string[]; readonly key: string; readonly preset: string } | null;
  /** Text of its version call that says that this version does nothing any more. */
  readonly retired: RegExp | null;
  readonly headless: HeadlessStart | null;
  /** What to type to get it. */
  readonly install: string;
  /** What to do to be logged in. */
  readonly login: string;
  /** When it says that nobody is: at the start of a session, or not before the first prompt. */
  readonly loginShowsAt: "session" | "prompt";
  readonly environment: {
    /** Variables of the caller that it may see: names, or families ending in `*`. */
    readonly pass: readonly string[];
    /** Set unless the caller has set them. */
    readonly set: Readonly<Record<string, string>>;
    /** Set as well where somebody can be asked: they make the agent ask. */
    readonly setToAsk: Readonly<Record<string, string>>;
  };
  /** The agent's own ids of its modes; null where it has none or they are not known. */
  readonly modes: {
    readonly ask: string | null;
    readonly readOnly: string | null;
  };
  /** What to offer it. Where one of these is not used, offering it does harm or nothing. */
  readonly client: {
    readonly readFiles: boolean;
    readonly writeFiles: boolean;
    readonly terminal: boolean;
  };
  readonly usage: UsageSource;
  /** Where a model's failure is told: some end the turn as if nothing had happened. */
  readonly failures: "protocol" | "session_log" | "message_text";
  /** Resident memory of one process with one session, measured. */
  readonly memoryMiB: number;
  /** Versions with which all this was seen; none: it is from the documentation. */
  readonly tested: readonly string[];
  /** What goes wrong with it, and the version it was seen in. */
  readonly defects: readonly { readonly what: string; readonly seenIn: string }[];
}

/** Keys of model providers that agents for several providers read. */
const PROVIDER_KEYS = [
  "ANTHROPIC_*",
  "OPENAI_*",
  "GEMINI_API_KEY",
  "GOOGLE_API_KEY",
  "GOOGLE_GENERATIVE_AI_API_KEY",
  "OPENROUTER_API_KEY",
  "MOONSHOT_API_KEY",
  "DEEPSEEK_API_KEY",
  "MISTRAL_API_KEY",
  "GROQ_API_KEY",
  "XAI_API_KEY",
];

const NOTHING_OFFERED = { readFiles: false, writeFiles: false, terminal: false };

/** All presets, in the order in which `auto` looks for them. */
export const PRESETS: readonly AgentPreset[] = [
  {
    name: "opencode",
    title: "opencode",
    protocol: "acp",
    program: "opencode",
    args: ["acp"],
    versionArgs: ["--version"],
    twin: null,
    retired: null,
    headless: {
      program: "opencode",
      // Without --auto everything that would be asked is refused.
      args: ["run", "--auto", "--format", "json", "{prompt}"],
      readOnlyArgs: ["run", "--agent", "plan", "--format", "json", "{prompt}"],
      output: "opencode",
    },
    install: "npm install -g opencode-ai",
    login: "opencode auth login",
    loginShowsAt: "prompt",
    environment: {
      pass: ["OPENCODE_*", ...PROVIDER_KEYS],
      set: { OPENCODE_DISABLE_AUTOUPDATE: "1" },
      // By itself it asks for nothing.
      setToAsk: { OPENCODE_PERMISSION: '{"edit":"ask","bash":"ask"}' },
    },
    modes: { ask: "build", readOnly: "plan" },
    client: NOTHING_OFFERED,
    usage: { tokens: "prompt_result_last_call", inputHoldsCache: false, cost: "usage_update" },
    failures: "protocol",
    memoryMiB: 615,
    tested: ["1.18.33"],
    defects: [
      { what: "leaves running shell commands behind when it is killed", seenIn: "1.18.33" },
      {
        what: "tells the client of a write after it was allowed, and writes whatever the answer",
        seenIn: "1.18.33",
      },
      { what: "in mode plan, edits that are set to ask are asked and then done", seenIn: "1.18.33" },
      { what: "a second prompt joins the running turn", seenIn: "1.18.33" },
    ],
  },
  {
    name: "kimi",
    title: "Kimi Code",
    protocol: "acp",
    program: "kimi",
    args: ["acp"],
    versionArgs: ["--version"],
    twin: { args: ["info", "--json"], key: "wire_protocol_version", preset: "kimi-cli" },
    retired: /no longer maintained/i,
    headless: {
      program: "kimi",
      args: ["-p", "{prompt}", "--output-format", "stream-json"],
      readOnlyArgs: null,
      output: "kimi",
    },
    install: "npm install -g @moonshot-ai/kimi-code (needs Node 22.19 or newer)",
    login: "kimi login, or set KIMI_MODEL_NAME and KIMI_MODEL_API_KEY",
    loginShowsAt: "session",
    environment: {
      pass: ["KIMI_*", "MOONSHOT_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"],
      set: { KIMI_CODE_NO_AUTO_UPDATE: "1" },
      setToAsk: {},
    },
    modes: { ask: "default", readOnly: "plan" },
    // Writes, edits and every shell command then go through omk, and a refusal fails the tool.
    client: { readFiles: true, writeFiles: true, terminal: true },
    usage: { tokens: "session_log", inputHoldsCache: false, cost: "none" },
    failures: "session_log",
    memoryMiB: 435,
    tested: ["2.1.0"],
    defects: [
      { what: "a failed model call ends the turn as if it were done", seenIn: "2.1.0" },
      { what: "does not ask for writes inside a git work tree", seenIn: "2.1.0" },
      { what: "ignores [[permission.rules]] of its config.toml", seenIn: "2.1.0" },
      { what: "leaves running shell commands behind when it is killed", seenIn: "2.1.0" },
      { what: "sends its usage about 10 ms after the result of the prompt", seenIn: "2.1.0" },
    ],
  },
  {
    name: "kimi-cli",
    title: "Kimi CLI (Python)",
    protocol: "wire",
    program: "kimi",
    args: ["--wire"],
    versionArgs: ["--version"],
    twin: null,
    retired: /no longer maintained/i,
    headless: {
      program: "kimi",
      args: ["--print", "-p", "{prompt}", "--output-format", "stream-json"],
      readOnlyArgs: null,
      output: "kimi",
    },
    install:
      "an older kimi-cli from PyPI (its last version only says that it is retired), or Kimi Code as `kimi`",
    login: "kimi login, or set KIMI_API_KEY",
    loginShowsAt: "prompt",
    environment: {
      pass: ["KIMI_*", "OPENAI_BASE_URL", "OPENAI_API_KEY"],
      set: { KIMI_CLI_NO_AUTO_UPDATE: "1" },
      setToAsk: {},
    },
    modes: { ask: null, readOnly: null },
    client: NOTHING_OFFERED,
    usage: { tokens: "events", inputHoldsCache: false, cost: "none" },
    failures: "protocol",
    memoryMiB: 300,
    tested: ["1.49.0"],
    defects: [
      { what: "does nothing but to say that it is retired", seenIn: "1.52.0" },
      { what: "asks nothing when default_yolo is set in its own configuration", seenIn: "1.49.0" },
    ],
  },
  {
    name: "claude",
    title: "Claude Code",
    protocol: "acp",
    program: "claude-agent-acp",
    args: [],
    versionArgs: ["--version"],
    twin: null,
    retired: null,
    headless: {
      program: "claude",
      args: [
        "-p",
        "{prompt}",
        "--output-format",
        "stream-json",
        "--verbose",
        "--permission-mode",
        "acceptEdits",
        "--allowedTools",
        "Bash",
      ],
      readOnlyArgs: [
        "-p",
        "{prompt}",
        "--output-format",
        "stream-json",
        "--verbose",
        "--permission-mode",
        "plan",
      ],
      output: "claude",
    },
    install:
      "npm install -g @agentclientprotocol/claude-agent-acp (for claude:headless @anthropic-ai/claude-code)",
    login: "claude auth login (of @anthropic-ai/claude-code), or set ANTHROPIC_API_KEY",
    loginShowsAt: "prompt",
    environment: {
      pass: [
        "ANTHROPIC_*",
        "CLAUDE_CONFIG_DIR",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_MAX_RETRIES",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
        "DISABLE_AUTOUPDATER",
        "DISABLE_TELEMETRY",
        "DISABLE_ERROR_REPORTING",
      ],
      set: { DISABLE_AUTOUPDATER: "1" },
      setToAsk: {},
    },
    modes: { ask: "default", readOnly: "plan" },
    client: NOTHING_OFFERED,
    usage: { tokens: "prompt_result_turn", inputHoldsCache: false, cost: "usage_update" },
    failures: "protocol",
    memoryMiB: 470,
    tested: ["0.100.0"],
    defects: [
      { what: "leaves its child process behind when it is killed", seenIn: "0.100.0" },
      { what: "queues a second prompt behind the running turn", seenIn: "0.100.0" },
    ],
  },
  {
    name: "codex",
    title: "Codex",
    protocol: "acp",
    program: "codex-acp",
    args: [],
    versionArgs: ["--version"],
    twin: null,
    retired: null,
    headless: {
      program: "codex",
      args: ["exec", "--json", "--skip-git-repo-check", "-s", "workspace-write", "{prompt}"],
      readOnlyArgs: ["exec", "--json", "--skip-git-repo-check", "-s", "read-only", "{prompt}"],
      output: "codex",
    },
    install: "npm install -g @agentclientprotocol/codex-acp (for codex:headless @openai/codex)",
    login: "codex login (of @openai/codex), or set OPENAI_API_KEY",
    loginShowsAt: "prompt",
    environment: { pass: ["CODEX_*", "OPENAI_*"], set: {}, setToAsk: {} },
    modes: { ask: "workspace-write", readOnly: "read-only" },
    client: NOTHING_OFFERED,
    usage: { tokens: "prompt_result_turn", inputHoldsCache: true, cost: "none" },
    failures: "message_text",
    memoryMiB: 250,
    tested: ["2.6.0"],
    defects: [
      { what: "a failed model call ends the turn with the error as text", seenIn: "2.6.0" },
      { what: "asks only when the model wants to leave its sandbox", seenIn: "2.6.0" },
      { what: "tells nothing of a command that its sandbox stopped", seenIn: "2.6.0" },
      {
        what: "sandboxed commands fail when CODEX_HOME lies in the folder of temporary files",
        seenIn: "2.6.0",
      },
    ],
  },
  {
    name: "gemini",
    title: "Gemini CLI",
    protocol: "acp",
    program: "gemini",
    args: ["--acp"],
    versionArgs: ["--version"],
    twin: null,
    retired: null,
    headless: {
      program: "gemini",
      args: ["-p", "{prompt}", "-o", "stream-json", "--approval-mode", "yolo"],
      readOnlyArgs: ["-p", "{prompt}", "-o", "stream-json", "--approval-mode", "plan"],
      output: "gemini",
    },
    install: "npm install -g @google/gemini-cli",
    login: "start `gemini` once and log in, or set GEMINI_API_KEY",
    loginShowsAt: "prompt",
    environment: { pass: ["GEMINI_*", "GOOGLE_*"], set: {}, setToAsk: {} },
    modes: { ask: "default", readOnly: "plan" },
    // With reading offered it cannot create files: it does not recognise the answer that a file is not there.
    client: { readFiles: false, writeFiles: true, terminal: false },
    usage: { tokens: "meta_quota", inputHoldsCache: true, cost: "none" },
    failures: "protocol",
    memoryMiB: 420,
    tested: ["0.61.0"],
    defects: [
      { what: "ignores TERM and the end of its stdin while a tool server is attached", seenIn: "0.61.0" },
      { what: "its second process finishes the turn when only the first is signalled", seenIn: "0.61.0" },
      { what: "asks for leave before it has told of the tool call", seenIn: "0.61.0" },
      { what: "a second prompt cancels the running turn", seenIn: "0.61.0" },
    ],
  },
  {
    name: "goose",
    title: "goose",
    protocol: "acp",
    program: "goose",
    args: ["acp"],
    versionArgs: ["--version"],
    twin: null,
    retired: null,
    headless: null,
    install: "see the installation page of the goose project",
    login: "goose configure",
    loginShowsAt: "prompt",
    environment: { pass: ["GOOSE_*", ...PROVIDER_KEYS], set: {}, setToAsk: {} },
    modes: { ask: null, readOnly: null },
    client: NOTHING_OFFERED,
    usage: { tokens: "none", inputHoldsCache: false, cost: "none" },
    failures: "protocol",
    memoryMiB: 400,
    tested: [],
    defects: [],
  },
];

/** The preset of that name. */
export function presetNamed(name: string): AgentPreset | undefined {
  return PRESETS.find((preset) => preset.name === name);
}

/**
 * The variables that an agent gets besides those of every child: what of the caller's it may see, and what omk sets. What
 * the user has set wins, an empty value too. `isAsked`: requests for leave will be answered.
 */
export function presetEnvironment(
  preset: Pick<AgentPreset, "environment">,
  callerEnvironment: Readonly<Record<string, string | undefined>>,
  isAsked = true,
): Record<string, string> {
  const { pass, set, setToAsk } = preset.environment;
  const given: Record<string, string> = { ...set, ...(isAsked && setToAsk) };
  for (const [name, value] of Object.entries(callerEnvironment)) {
    if (value === undefined) continue;
    const isKnown = Object.hasOwn(given, name) || pass.some((pattern) => matches(pattern, name));
    if (isKnown) given[name] = value;
  }
  return given;
}

function matches(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** Whether a version is of a major that this preset was tried with; undefined where neither is known. */
export function isTestedMajor(
  preset: Pick<AgentPreset, "tested">,
  version: string | null,
): boolean | undefined {
  const major = majorOf(version ?? "");
  if (major === undefined || preset.tested.length === 0) return undefined;
  return preset.tested.some((one) => majorOf(one) === major);
}

function majorOf(version: string): string | undefined {
  return /\b(\d+)\.\d+/.exec(version)?.[1];
}

/** Whether a text has the form of an engine's name; whether such an agent is there is not looked at. */
export function isEngineName(text: string): boolean {
  const name = text.trim();
  if (name === "auto" || presetNamed(name)) return true;
  const [, kind = "", rest = ""] = /^([^:]+):\s*(.+)$/s.exec(name) ?? [];
  if (rest === "headless" && presetNamed(kind)) return true;
  return rest !== "" && ["acp", "wire", "command", "scripted"].includes(kind);
}
