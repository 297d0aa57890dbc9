/** The toolbar of one notebook: cluster, how it is, restart of its engines; type of the cell, catalog. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { IDisposable } from '@lumino/disposable';
import { Widget } from '@lumino/widgets';

import { asKind, catalogOf, Kind, kindOf, withCatalog } from './cells';
import { act, IAnswer, ICluster, look } from './portal';

const SOON = 1000;
const LATER = 10000;
const KINDS: [Kind, string][] = [
  ['python', 'Python'],
  ['px', 'Parallel Python'],
  ['sql', 'SQL']
];

export class NotebookToolbar implements IDisposable {
  isDisposed = false;
  private readonly cluster = select('cluster', 'Cluster');
  private readonly note = element('span', 'note');
  private readonly restart = element('button', 'restart');
  private readonly kind = select('kind', 'Type of the cell');
  private readonly catalog = select('catalog', 'Catalog');
  private readonly widgets: Widget[];
  private answer: IAnswer = { clusters: [], attached: null, catalogs: [] };
  private wanted = '';
  private problem = '';
  private timer = 0;

  constructor(private readonly panel: NotebookPanel) {
    this.note.setAttribute('role', 'status');
    this.restart.textContent = 'Restart engines';
    this.widgets = [this.cluster, this.note, this.restart, this.kind, this.catalog].map(node => new Widget({ node }));
    this.widgets.forEach((widget, index) =>
      panel.toolbar.insertItem(index, `portal-${widget.node.dataset.portal}`, widget)
    );
    fill(this.kind, KINDS, 'python');
    this.cluster.onchange = () => void this.choose(this.cluster.value);
    this.restart.onclick = () => void this.renew();
    this.kind.onchange = () => this.change(source => asKind(source, this.kind.value as Kind, this.lastCatalog()));
    this.catalog.onchange = () => this.change(source => withCatalog(source, this.catalog.value));
    panel.content.activeCellChanged.connect(this.showCell, this);
    panel.content.modelContentChanged.connect(this.showCell, this);
    panel.sessionContext.kernelChanged.connect(this.refresh, this);
    document.addEventListener('visibilitychange', this.wake);
    this.show();
    void this.refresh();
  }

  dispose(): void {
    this.isDisposed = true;
    window.clearTimeout(this.timer);
    document.removeEventListener('visibilitychange', this.wake);
    this.panel.content.activeCellChanged.disconnect(this.showCell, this);
    this.panel.content.modelContentChanged.disconnect(this.showCell, this);
    this.panel.sessionContext.kernelChanged.disconnect(this.refresh, this);
    this.widgets.forEach(widget => widget.dispose());
  }

  private get kernel(): string {
    return this.panel.sessionContext.session?.kernel?.id ?? '';
  }

  /** Look again, and once more after a while: soon where something is under way, not at all where nobody looks. */
  private async refresh(): Promise<void> {
    window.clearTimeout(this.timer);
    if (this.kernel && !document.hidden) {
      await this.take(look(this.kernel));
      const wanted = this.answer.clusters.find(each => each.id === this.wanted);
      if (wanted?.can === 'attach') {
        this.wanted = '';
        await this.ask('attach', wanted.id);
      }
    }
    if (!this.isDisposed) {
      const soon = this.wanted || this.answer.attached?.state === 'STARTING' || !this.kernel;
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => void this.refresh(), soon ? SOON : LATER);
    }
  }

  private readonly wake = (): void => {
    if (!document.hidden) {
      void this.refresh();
    }
  };

  private async choose(id: string): Promise<void> {
    const chosen = this.answer.clusters.find(each => each.id === id);
    this.problem = this.wanted = '';
    if (!chosen) {
      await this.ask('detach');
    } else if (chosen.can === 'attach') {
      await this.ask('attach', id);
    } else if (chosen.can === 'resume' && (await this.confirmed(chosen))) {
      this.wanted = id;
      await this.ask('resume', id);
    } else if (chosen.can === 'nothing') {
      this.problem = `${chosen.name}: ${chosen.note}`;
    }
    this.show();
    void this.refresh();
  }

  private async confirmed(cluster: ICluster): Promise<boolean> {
    const answer = await showDialog({
      title: `Resume ${cluster.name}?`,
      body: `It is ${cluster.note}. Once it runs, this notebook is attached to it.`,
      buttons: [Dialog.cancelButton(), Dialog.okButton({ label: 'Resume' })]
    });
    return answer.button.accept;
  }

  private async renew(): Promise<void> {
    const answer = await showDialog({
      title: 'Restart the engines?',
      body: 'Whatever they run is ended, and what they have in memory is lost. The notebook keeps its own variables.',
      buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: 'Restart' })]
    });
    if (answer.button.accept) {
      await this.ask('restart');
      void this.refresh();
    }
  }

  private ask(what: 'attach' | 'detach' | 'resume' | 'restart', cluster?: string): Promise<void> {
    this.cluster.disabled = this.restart.disabled = true;
    return this.take(act(what, { kernel: this.kernel, cluster, notebook: this.panel.context.path }));
  }

  private async take(asked: Promise<IAnswer>): Promise<void> {
    try {
      this.answer = await asked;
      this.problem = '';
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.wanted = '';
    }
    this.show();
  }

  private show(): void {
    if (this.isDisposed) {
      return;
    }
    const { clusters, attached } = this.answer;
    const options: [string, string][] = clusters.map(each => [each.id, `${each.name} (${each.note})`]);
    if (attached && !clusters.some(each => each.id === attached.cluster)) {
      options.push([attached.cluster, attached.name]);
    }
    fill(this.cluster, [['', 'Not attached'], ...options], this.wanted || attached?.cluster || '');
    this.cluster.disabled = this.restart.disabled = false;
    const waits = clusters.find(each => each.id === this.wanted);
    this.note.textContent = this.problem || (waits ? `Resuming ${waits.name}` : attached?.note) || '';
    this.note.title = this.note.textContent;
    this.note.classList.toggle('portal-problem', Boolean(this.problem || attached?.trouble));
    this.restart.hidden = !attached || attached.state === 'STARTING';
    this.restart.classList.toggle('portal-wanted', Boolean(attached?.trouble));
    this.showCell();
  }

  private showCell(): void {
    const model = this.panel.content.activeCell?.model;
    const source = model?.sharedModel.getSource() ?? '';
    const kind = kindOf(source);
    const catalog = catalogOf(source);
    this.kind.disabled = model?.type !== 'code';
    this.kind.value = kind;
    this.catalog.hidden = kind !== 'sql' || model?.type !== 'code';
    const names = this.answer.catalogs.includes(catalog) || !catalog ? this.answer.catalogs : [...this.answer.catalogs, catalog];
    fill(this.catalog, [['', "The workspace's files"], ...names.map((name): [string, string] => [name, name])], catalog);
  }

  private change(how: (source: string) => string): void {
    const cell = this.panel.content.activeCell;
    if (cell?.model.type === 'code') {
      const source = cell.model.sharedModel.getSource();
      const changed = how(source);
      if (changed !== source) {
        cell.model.sharedModel.setSource(changed);
      }
    }
    this.showCell();
  }

  /** The catalog of the SQL cell before this one, if there is one. */
  private lastCatalog(): string {
    const { widgets, activeCellIndex } = this.panel.content;
    const sources = widgets.slice(0, activeCellIndex).map(cell => cell.model.sharedModel.getSource());
    return catalogOf([...sources].reverse().find(source => kindOf(source) === 'sql') ?? '');
  }
}

function element<K extends 'span' | 'button' | 'select'>(tag: K, name: string): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.dataset.portal = name;
  node.className = `portal-${tag}`;
  return node;
}

function select(name: string, label: string): HTMLSelectElement {
  const node = element('select', name);
  node.title = label;
  node.setAttribute('aria-label', label);
  return node;
}

/** Other options, where they are others: an open list must not close under the hand. */
function fill(node: HTMLSelectElement, options: [string, string][], value: string): void {
  const wanted = JSON.stringify(options);
  if (node.dataset.options !== wanted) {
    node.dataset.options = wanted;
    node.replaceChildren(...options.map(([each, text]) => new Option(text, each)));
  }
  node.value = value;
}
