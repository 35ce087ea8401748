// Which addresses a server on the internet has no business sending us to. In: a host name or an address. Out: yes or no. Private networks, this
// machine, link-local (169.254.169.254 hands out cloud credentials), multicast and reserved ranges: RFC 6890 and the IANA registries.

import { lookup as systemLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";

const inner = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const) {
  inner.addSubnet(net, bits, "ipv4");
}
for (const [net, bits] of [
  ["::", 127], // unspecified and loopback
  ["64:ff9b:1::", 48],
  ["2002::", 16], // carries an IPv4 address of anybody's choice
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  inner.addSubnet(net, bits, "ipv6");
}

/** Of an address as `net` writes it; IPv4 inside IPv6 (`::ffff:127.0.0.1`) counts as what it is. */
export function isInnerAddress(address: string): boolean {
  const family = isIP(address.replace(/%.*$/, ""));
  if (family === 0) return true;
  return inner.check(address.replace(/%.*$/, ""), family === 6 ? "ipv6" : "ipv4");
}

/** The address that a URL's host is, or undefined for a name. `new URL` has turned `0x7f.1` into `127.0.0.1` before. */
export function literalAddress(hostname: string): string | undefined {
  const bare = hostname.replace(/^\[(.*)\]$/, "$1");
  return isIP(bare) ? bare : undefined;
}

/** True when every address of the host is an inner one. */
export async function isInnerHost(hostname: string): Promise<boolean> {
  const literal = literalAddress(hostname);
  if (literal !== undefined) return isInnerAddress(literal);
  return await new Promise((resolve) => {
    systemLookup(hostname, { all: true }, (error, addresses) => {
      resolve(!error && addresses.length > 0 && addresses.every(({ address }) => isInnerAddress(address)));
    });
  });
}

/** The system's lookup, which fails with what `refuse` makes of an inner address: checked on the very answer that is connected to. */
export function guardedLookup(refuse: (address: string) => Error): LookupFunction {
  return (hostname, options, callback) => {
    systemLookup(hostname, { ...options, all: true }, (error, addresses) => {
      const bad = error ? undefined : addresses.find(({ address }) => isInnerAddress(address));
      const [first] = addresses ?? [];
      if (error) callback(error, "");
      else if (bad) callback(refuse(bad.address), "");
      else if (options.all) callback(null, addresses);
      else callback(null, first?.address ?? "", first?.family);
    });
  };
}
