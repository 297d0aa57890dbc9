/** What the portal tells a notebook's toolbar, and can be asked for by it. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** A cluster of the workspace. `note` says in a few words how it is, `can` what choosing it does. */
export interface ICluster {
  id: string;
  name: string;
  note: string;
  can: 'attach' | 'resume' | 'nothing';
}

/** What the notebook is attached to. `note` is for people; `trouble` says that only new engines help. */
export interface IAttached {
  cluster: string;
  name: string;
  state: 'STARTING' | 'READY' | 'ENDED';
  note: string;
  trouble: boolean;
}

export interface IAnswer {
  clusters: ICluster[];
  attached: IAttached | null;
  catalogs: string[];
}

/** A refusal, in the portal's words. */
export class RefusedError extends Error {}

const settings = ServerConnection.makeSettings();

/** The portal answers below the server's own address; it never reaches Jupyter. */
async function ask(path: string, init: RequestInit): Promise<IAnswer> {
  const url = URLExt.join(settings.baseUrl, 'portal', path);
  const response = await ServerConnection.makeRequest(url, init, settings);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const words = [body.message, body.hint].filter(Boolean).join(' ');
    throw new RefusedError(words || `The portal answered with ${response.status}.`);
  }
  return body;
}

/** How things stand for a kernel. */
export function look(kernel: string): Promise<IAnswer> {
  return ask(`notebook?kernel=${encodeURIComponent(kernel)}`, { method: 'GET' });
}

/** Ask for something, and get how things stand then. */
export function act(
  what: 'attach' | 'detach' | 'resume' | 'restart',
  about: { kernel: string; cluster?: string; notebook?: string }
): Promise<IAnswer> {
  return ask(what, { method: 'POST', body: JSON.stringify(about) });
}
