/** One step of a turn; the first key says which. */
export type WireStep =
  | { event: [type: string, payload?: object] }
  | { text: string }
  | { raw: string }
  /** A line of so many characters. */
  | { long: number }
  | { stderr: string }
  /** A request with `payload.id` as its id. */
  | { request: [type: string, payload: { id: string; [key: string]: unknown }] }
  /** Waits for the answer to that request. */
  | { await: string }
  /** Says the answer to that request as its text. */
  | { tell: string }
  | { tellInitialize: true }
  | { tellPrompt: true }
  | { write: [path: string, body: string] }
  /** Waits until the turn is cancelled. */
  | { cancelled: true }
  | { never: true }
  | { exit: number }
  /** Answers the prompt. */
  | { status: string }
  | { error: { code: number; message: string; data?: unknown } };

export interface WireScript {
  /** What is answered to `initialize`, and what is done before and after; by default a friendly server. */
  initialize?: { steps?: WireStep[]; result?: object; error?: object; after?: WireStep[] };
  turns: (number: number, prompt: string) => readonly WireStep[];
  /** False: it answers `cancel` and goes on. */
  listensToCancel?: boolean;
  exitAtEnd?: number;
}

export function serveWire(
  script: WireScript,
  io: {
    input: AsyncIterable<Uint8Array>;
    write(output: string): void;
    writeError(output: string): void;
    exit(code: number): void;
    workDir: string;
  },
): Promise<void>;
