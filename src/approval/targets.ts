/** Where a path of a request leads, and what is to be said of that place. */
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

import { whyProtected } from "../format/names.ts";
import { printable } from "../format/printable.ts";
import type { Disk } from "../ports.ts";

/** A path that a request is about. */
export interface Target {
  /** Relative inside the project, absolute outside, and as written where it cannot be told what it is. */
  path: string;
  isInside: boolean;
  /** It steers git or omk themselves, or holds what does. */
  isProtected: boolean;
  /** Nobody can say where that is: a shell or the tool itself would still replace something in it. */
  isUnknown: boolean;
  /** Not to be read unasked: outside and no single file, or a place where secrets are kept. */
  isPrivate: boolean;
}

/** From where paths are looked at. */
export interface TargetPlace {
  /** The project's real directory. */
  root: string;
  /** Of omk; undefined where there is none. */
  stateFolder: string | undefined;
  disk: Disk;
}

const PATH_CHARACTERS_MAX = 4_096;

/** Where a path leads; a relative one starts in `base`. */
export function targetOf(written: string, base: string, place: TargetPlace): Target {
  const unknown: Target = {
    path: printable(written.slice(0, PATH_CHARACTERS_MAX), { oneLine: true }),
    isInside: false,
    isProtected: false,
    isUnknown: true,
    isPrivate: true,
  };
  let path = written;
  if (/^file:/i.test(path)) {
    try {
      path = fileURLToPath(path);
    } catch {
      // Of another host, or no address at all: nothing on this disk.
      return unknown;
    }
  } else if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) {
    return { ...unknown, isUnknown: !URL.canParse(path), isPrivate: !isPublicAddress(path) };
  }
  if (isAmbiguous(path)) return unknown;
  const real = walk(isAbsolute(path) ? path : join(base, sep) + path, place);
  if (real === undefined) return unknown;
  const inside = relative(place.root, real);
  // The project as a whole, with everything that steers git in it.
  if (inside === "")
    return { path: ".", isInside: true, isProtected: true, isUnknown: false, isPrivate: false };
  const isInside = inside !== ".." && !inside.startsWith(`..${sep}`) && !isAbsolute(inside);
  const shown = isInside ? inside : real;
  return {
    path: shown,
    isInside,
    // A stream of a file, as NTFS has them, is in the file.
    isProtected: whyProtected(shown.replaceAll(":", "/")) !== undefined,
    isUnknown: false,
    isPrivate: isSecret(shown) || (!isInside && isPrivateOutside(real, place)),
  };
}

/** Whether a shell, or a tool that is lenient, would take it for another path than it is. */
function isAmbiguous(path: string): boolean {
  return (
    path === "" ||
    path.length > PATH_CHARACTERS_MAX ||
    path !== path.trim() ||
    /^[~"'`@]/.test(path) ||
    /[$\\`]/.test(path) ||
    // oxlint-disable-next-line no-control-regex -- exactly those are meant
    /[\u0000-\u001f\u007f]/.test(path)
  );
}

/** As the system resolves it, component by component: `link/..` is the parent of where the link leads. */
function walk(path: string, { disk }: Pick<TargetPlace, "disk">): string | undefined {
  let at: string = sep;
  for (const part of path.split(sep)) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      at = dirname(at);
      continue;
    }
    const next = join(at, part);
    try {
      const real = disk.realPath(next);
      // A link to nothing: what is written through it comes to be wherever it points.
      if (real === undefined && disk.stat(next)?.kind === "link") return undefined;
      at = real ?? next;
    } catch {
      // Where we may not look, or links in a circle: it cannot be told where that is.
      return undefined;
    }
  }
  return at;
}

/** Folders that hold keys and tokens, wherever they are. */
const SECRET_FOLDER =
  /(?:^|\/)(?:\.ssh|\.gnupg|\.aws|\.azure|\.kube|\.docker|\.password-store|\.vault-token|\.config\/(?:gcloud|gh|glab-cli|op|doctl|hub)|\.local\/share\/keyrings)(?:\/|$)/i;
/** Files that hold them outside of projects: of keys, tokens and logins, and what a shell remembers. */
const SECRET_FILE =
  /(?:^|\/)(?:id_[a-z0-9]+|[^/]*\.(?:pem|key|p12|pfx|kdbx|jks|keystore)|(?:[^/]*[._-])?(?:credentials?|tokens?|secrets?|passwords?)(?:[._-][^/]*)?|auth\.json|\.env(?:\.[^/]*)?|\.netrc|\.npmrc|\.pypirc|\.pgpass|\.my\.cnf|\.[a-z]*_?history)$/i;
const SECRET_PLACE =
  /^\/(?:proc|sys|dev)(?:\/|$)|^(?:\/var)?\/run\/secrets(?:\/|$)|^\/(?:private\/)?etc\/(?:g?shadow-?|sudoers(?:\.d)?|ssh|ssl\/private|master\.passwd|krb5\.keytab)(?:\/|$)/i;

function isSecret(path: string): boolean {
  return SECRET_FOLDER.test(path);
}

function isPrivateOutside(real: string, { stateFolder, disk }: TargetPlace): boolean {
  if (SECRET_FILE.test(real) || SECRET_PLACE.test(real)) return true;
  if (stateFolder !== undefined && (real === stateFolder || real.startsWith(stateFolder + sep))) return true;
  try {
    // A folder is read with all that is below it.
    return disk.stat(real)?.kind !== "file";
  } catch {
    // Where we may not look nobody can say what it is.
    return true;
  }
}

/** An address on the open internet by its name: what this machine's own network serves is nobody's to hand out. */
function isPublicAddress(address: string): boolean {
  if (!URL.canParse(address)) return false;
  const { protocol, hostname } = new URL(address);
  const isWeb = protocol === "http:" || protocol === "https:";
  const isNumber = /^[\d.]+$/.test(hostname) || hostname.startsWith("[");
  const isNear =
    !hostname.includes(".") || /\.(?:internal|local|localhost|lan|home\.arpa)\.?$/.test(hostname);
  return isWeb && !isNumber && !isNear;
}
