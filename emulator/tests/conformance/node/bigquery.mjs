// @google-cloud/bigquery
import { equal, deepEqual, rejects } from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bigquery, newId, run, storage } from './checks.mjs';

const rows = [{ name: 'a', number: 1 }, { name: 'b', number: 2 }];

async function newTable(content = rows) {
  const [dataset] = await bigquery.createDataset(newId('d'));
  const [table] = await dataset.createTable('t', { schema: 'name:STRING,number:INTEGER' });
  if (content.length) await table.insert(content);
  return table;
}

async function load(table, text, metadata) {
  const directory = mkdtempSync(join(tmpdir(), 'conformance-'));
  try {
    writeFileSync(join(directory, 'file'), text);
    return await table.load(join(directory, 'file'), metadata);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

await run({
  async datasets() {
    const [dataset] = await bigquery.createDataset(newId('d'));
    const [datasets] = await bigquery.getDatasets();
    equal(datasets.some((each) => each.id === dataset.id), true);
    await dataset.setMetadata({ description: 'of checks' });
    equal((await dataset.getMetadata())[0].description, 'of checks');
    await rejects(bigquery.createDataset(dataset.id), { code: 409 });
    await dataset.delete();
    deepEqual(await dataset.exists(), [false]);
  },

  async tables() {
    const table = await newTable();
    deepEqual((await table.getMetadata())[0].schema.fields.map(({ name, type }) => [name, type]), [['name', 'STRING'], ['number', 'INTEGER']]);
    deepEqual((await table.dataset.getTables())[0].map(({ id }) => id), ['t']);
    deepEqual((await table.getRows())[0], rows);
    await table.delete();
    deepEqual(await table.exists(), [false]);
  },

  async insert() {
    const table = await newTable([]);
    await rejects(table.insert([{ name: 'a', none: 1 }]), { name: 'PartialFailureError' });
    await table.insert(rows);
    deepEqual((await table.getRows())[0], rows);
  },

  async loadFile() {
    const table = await newTable([]);
    const [job] = await load(table, 'name,number\na,1\nb,2\n', { sourceFormat: 'CSV', skipLeadingRows: 1 });
    equal(job.statistics.load.outputRows, '2');
    deepEqual((await table.getRows())[0], rows);
  },

  async parameters() {
    const table = await newTable();
    const query = `SELECT name, @day AS day FROM ${table.dataset.id}.t WHERE name IN UNNEST(@names)`;
    const [found] = await bigquery.query({ query, params: { names: ['b', 'c'], day: bigquery.date('2026-01-02') } });
    deepEqual(found.map(({ name, day }) => [name, day.value]), [['b', '2026-01-02']]);
    const [positional] = await bigquery.query({ query: 'SELECT ? + 1 AS n', params: [41] });
    deepEqual(positional, [{ n: 42 }]);
  },

  async types() {
    const [[row]] = await bigquery.query("SELECT TRUE AS a, 1.5 AS b, b'ab' AS c, TIMESTAMP '2026-01-02 03:04:05+00' AS d, [1, 2] AS e, STRUCT('x' AS y) AS f");
    deepEqual([row.a, row.b, row.c.toString(), row.d.value, row.e, row.f], [true, 1.5, 'ab', '2026-01-02T03:04:05.000Z', [1, 2], { y: 'x' }]);
  },

  async paging() {
    const [job] = await bigquery.createQueryJob('SELECT n FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n ORDER BY n');
    const numbers = [];
    let calls = 0;
    for (let next = { maxResults: 1000, autoPaginate: false }; next; calls++) {
      const [page, following] = await job.getQueryResults(next);
      numbers.push(...page.map(({ n }) => n));
      next = following;
    }
    deepEqual([calls, numbers], [3, Array.from({ length: 2500 }, (_, index) => index + 1)]);
  },

  async dryRun() {
    const table = await newTable();
    const [job] = await bigquery.createQueryJob({ query: `SELECT * FROM ${table.dataset.id}.t`, dryRun: true });
    equal(Number(job.metadata.statistics.totalBytesProcessed) > 0, true);
  },

  async copy() {
    const table = await newTable();
    await table.copy(table.dataset.table('copy'));
    deepEqual((await table.dataset.table('copy').getRows())[0], rows);
  },

  async extract() {
    const table = await newTable();
    const [bucket] = await storage.createBucket(newId('bucket-'));
    await table.extract(bucket.file('t.csv'));
    equal((await bucket.file('t.csv').download())[0].toString(), 'name,number\na,1\nb,2\n');
    const [copy] = await table.dataset.createTable('copy', { schema: 'name:STRING,number:INTEGER' });
    await copy.load(bucket.file('t.csv'), { skipLeadingRows: 1 });
    deepEqual((await copy.getRows())[0], rows);
  },

  async jobs() {
    const [job] = await bigquery.createQueryJob({ query: 'SELECT 1 AS n', jobId: newId('job-') });
    deepEqual(await job.getQueryResults().then(([found]) => found), [{ n: 1 }]);
    equal((await bigquery.job(job.id).get())[0].metadata.status.state, 'DONE');
    equal((await bigquery.getJobs())[0].some(({ id }) => id === job.id), true);
    await job.cancel();
  },

  async errors() {
    await rejects(bigquery.query('SELEC 1'), { code: 400 });
    await rejects(bigquery.query('SELECT * FROM nothing.here'), { code: 404 });
    await rejects(bigquery.dataset('nothing').table('here').getMetadata(), { code: 404 });
  },
});
