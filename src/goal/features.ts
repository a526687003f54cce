/** Splitting a goal's sentence into the features it names, by its conjunctions alone. Pure. */

/** One feature. */
export interface Feature {
  text: string;
  /** Fit for the name of a folder; no other feature of the goal has it. */
  slug: string;
}

/** How many features are looked for where nobody said. */
const FEATURES_DEFAULT = 4;
/** Longer than any sentence about features: what is behind is left out. */
const TEXT_CHARACTERS_MAX = 4_000;

const CONJUNCTIONS = [" and ", ", and ", ", "];
const INTRODUCTIONS = [" with ", " including ", " plus ", " featuring "];

const STOP_WORDS: ReadonlySet<string> = new Set(
  (
    "a an the and or but with for to of in on at by from as is are was were be been being have has had do does did will " +
    "would could should may might must can this that these those it its i you he she we they"
  ).split(" "),
);

/** The features that a normalised goal names, each once; none where it names only one thing. */
export function featuresOf(normalized: string, featuresMax: number = FEATURES_DEFAULT): Feature[] {
  const text = asciiLower(normalized.slice(0, TEXT_CHARACTERS_MAX));
  const parts = conjoined(text, featuresMax) ?? introduced(text, featuresMax) ?? [];
  const named = new Set(
    parts
      .slice(0, featuresMax)
      .map((part) => part.trim())
      .filter(isFeature),
  );
  return withSlugs([...named]);
}

/** What stands between conjunctions: of all ways to split, the one that leaves out least; of equal ones the later. */
function conjoined(text: string, featuresMax: number): string[] | undefined {
  let best: { parts: string[]; bytes: number } | undefined;
  for (const conjunction of CONJUNCTIONS) {
    const parts = text
      .split(conjunction)
      .map((part) => part.trim())
      .slice(0, featuresMax);
    if (parts.length < 2) continue;
    const bytes = parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
    if (!best || bytes >= best.bytes) best = { parts, bytes };
  }
  return best?.parts;
}

/** What is built, and what it is built with. */
function introduced(text: string, featuresMax: number): string[] | undefined {
  for (const word of INTRODUCTIONS) {
    const at = text.indexOf(word);
    if (at === -1) continue;
    const prefix = text.slice(0, at).trim();
    const parts = text
      .slice(at + word.length)
      .split(/, and | and |, /)
      .map((part) => part.trim())
      .filter((part) => part !== "");
    if (parts.length > 0 && parts.length < featuresMax) return [prefix, ...parts.slice(0, featuresMax - 1)];
  }
  return undefined;
}

function isFeature(part: string): boolean {
  return Buffer.byteLength(part) > 2 && !STOP_WORDS.has(part) && !/^(?:a|an|the) /.test(part);
}

function withSlugs(texts: readonly string[]): Feature[] {
  const taken = new Set<string>();
  return texts.map((text, at) => {
    const plain = slugOf(text) || `feature_${at + 1}`;
    let slug = plain;
    for (let next = 2; taken.has(slug); next++) slug = `${plain}_${next}`;
    taken.add(slug);
    return { text, slug };
  });
}

/** A text as 0.5.0 made names of folders from it; empty when it has no letter or digit of ASCII. */
export function slugOf(text: string): string {
  return asciiLower(text)
    .replace(/[^a-z0-9\s]/g, "")
    .split(/\s+/)
    .filter(Boolean)
    .join("_");
}

/** Other letters stay: their lower case may have another length, which would move what is cut off. */
function asciiLower(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
