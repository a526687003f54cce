import fc from "fast-check";
import { expect, test } from "vitest";

import { githubRemote, parseRemote } from "../../src/delivery/remote.ts";

const widget = { host: "github.com", owner: "acme", name: "widget" };

test.each([
  ["https://github.com/acme/widget.git", "https://github.com/acme/widget.git"],
  ["https://github.com/acme/widget", "https://github.com/acme/widget"],
  ["https://GitHub.com:443/acme/widget/", "https://github.com/acme/widget"],
  ["http://www.github.com/acme/widget.git", "https://www.github.com/acme/widget.git"],
  ["git://github.com/acme/widget.git", "https://github.com/acme/widget.git"],
  ["https://me:secret@github.com/acme/widget.git", "https://github.com/acme/widget.git"],
  ["git@github.com:acme/widget.git", "git@github.com:acme/widget.git"],
  ["github.com:acme/widget", "git@github.com:acme/widget"],
  ["org-7@github.com:acme/widget.git", "org-7@github.com:acme/widget.git"],
  ["ssh://git@github.com/acme/widget.git", "ssh://git@github.com/acme/widget.git"],
  ["ssh://git@ssh.github.com:443/acme/widget.git", "ssh://git@ssh.github.com:443/acme/widget.git"],
  ["git+ssh://github.com/acme/widget", "ssh://git@github.com/acme/widget"],
])("%s names a repository", (url, pushed) => {
  expect(parseRemote(url)).toEqual({ ...widget, url: pushed });
});

test.each([
  "",
  "/srv/git/widget.git",
  "../widget.git",
  "file:///srv/widget.git",
  "C:/work/widget.git",
  "ext::sh -c 'touch /tmp/x' github.com/acme/widget",
  "https://gitlab.com/acme/widget.git",
  "https://github.com.evil.example/acme/widget.git",
  "https://evil.example/github.com/acme/widget.git",
  "https://github.com@evil.example/acme/widget.git",
  "https://github.com:8443/acme/widget.git",
  "https://github.com/acme",
  "https://github.com/acme/widget/more",
  "https://github.com/acme/..",
  "https://github.com/-acme/widget",
  "https://github.com/acme/widget.git?x=1",
  "https://github.com/acme/wid get.git",
  "https://github.com/acme/widget\n.git",
  "ssh://-oProxyCommand=x@github.com/acme/widget.git",
  "ssh://git@-oProxyCommand=x/acme/widget.git",
  "-oProxyCommand=x@github.com:acme/widget.git",
  "git@github.com:/acme/widget.git",
  "git@git.corp.example:acme/widget.git",
])("%j names none", (url) => {
  expect(parseRemote(url)).toBeUndefined();
});

test("a server of one's own is believed when the user names it", () => {
  const url = "git@git.corp.example:acme/widget.git";
  expect(parseRemote(url, "git.corp.example")).toEqual({ ...widget, host: "git.corp.example", url });
  expect(parseRemote("https://acme.ghe.com/acme/widget")?.host).toBe("acme.ghe.com");
});

test("a refusal shows no password and says what to do", () => {
  const refused = () => githubRemote("https://me:s3cret@gitlab.com/a/b", "origin");
  expect(refused).toThrow("The remote origin is no repository on GitHub: https://gitlab.com/a/b");
  expect(refused).toThrow(
    expect.objectContaining({ hint: expect.stringContaining("GH_HOST"), exitStatus: 1 }),
  );
});

test("whatever a URL holds, only known hosts and harmless characters come out, and they come out again", () => {
  const part = fc.stringMatching(/^[a-z0-9.@:/_ -]{0,20}$/);
  const url = fc.tuple(
    fc.constantFrom("https://", "ssh://", "git@", "", "ext::", "http://"),
    part,
    fc.constantFrom("github.com", "evil.example", "github.com:22"),
    fc.constantFrom("/", ":"),
    part,
    fc.constantFrom("/", ""),
    part,
  );
  fc.assert(
    fc.property(url, (parts) => {
      const found = parseRemote(parts.join(""));
      if (!found) return;
      expect(found.host).toBe("github.com");
      expect(found.url).toMatch(/^[A-Za-z0-9@:/._-]+$/);
      expect(found.url).not.toMatch(/^-/);
      expect(parseRemote(found.url)).toEqual(found);
    }),
  );
});
