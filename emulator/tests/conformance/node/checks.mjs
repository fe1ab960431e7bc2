// What the scripts use: runs checks one after the other and prints a line of JSON for each.
import { readFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import { BigQuery } from '@google-cloud/bigquery';
import { Storage } from '@google-cloud/storage';
import { healthcare } from '@googleapis/healthcare';
import { PassThroughClient } from 'google-auth-library';

// Each client has an option for the address. The variables of the two emulators hold what Python's clients understand by them.
const { HEALTHCARE_EMULATOR_HOST: url, SAMPLES } = process.env;
delete process.env.STORAGE_EMULATOR_HOST;
delete process.env.BIGQUERY_EMULATOR_HOST;

export const project = 'demo';
export const { datasets } = healthcare({ version: 'v1', rootUrl: `${url}/` }).projects.locations;
export const storage = new Storage({ projectId: project, apiEndpoint: url });
export const bigquery = new BigQuery({ projectId: project, apiEndpoint: url, authClient: new PassThroughClient() });

// Two files of pydicom's, of one instance each.
export const [ct, mr] = SAMPLES.split(delimiter).map((path) => readFileSync(path));

let number = 0;
export const newId = (prefix) => `${prefix}${++number}`;

export async function run(checks) {
  for (const [check, code] of Object.entries(checks)) {
    let error = null;
    try {
      await code();
    } catch (caught) {
      error = caught.stack ?? JSON.stringify(caught);
    }
    console.log(JSON.stringify({ check, ok: error === null, error }));
  }
}
