/** The type of a cell is its first line: `%%px` and `%%sql` make it a parallel or a SQL one. */

export type Kind = 'python' | 'px' | 'sql';

const FIRST = /^%%(px|sql)\b([^\n]*)(\n|$)/;
const CATALOG = /\s--catalog(?:=|\s+)("[^"]*"|'[^']*'|\S+)/;

/** What a cell is. */
export function kindOf(source: string): Kind {
  return (FIRST.exec(source)?.[1] as Kind | undefined) ?? 'python';
}

/** The same cell as another kind; options of the old one are left out. */
export function asKind(source: string, kind: Kind, catalog: string): string {
  if (kind === kindOf(source)) {
    return source;
  }
  const code = source.replace(FIRST, '');
  const line = kind === 'sql' && catalog ? `%%sql --catalog ${quoted(catalog)}` : `%%${kind}`;
  return kind === 'python' ? code : `${line}\n${code}`;
}

/** The catalog that a SQL cell names; empty for none. */
export function catalogOf(source: string): string {
  const named = CATALOG.exec(FIRST.exec(source)?.[2] ?? '')?.[1] ?? '';
  return named.replace(/^(["'])(.*)\1$/, '$2');
}

/** The same SQL cell over another catalog. */
export function withCatalog(source: string, catalog: string): string {
  const first = FIRST.exec(source);
  if (!first || first[1] !== 'sql') {
    return source;
  }
  const options = first[2].replace(CATALOG, '');
  return `%%sql${catalog ? ` --catalog ${quoted(catalog)}` : ''}${options}\n${source.slice(first[0].length)}`;
}

function quoted(name: string): string {
  return /^[\w.-]+$/.test(name) ? name : `"${name}"`;
}
