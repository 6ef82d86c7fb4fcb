// The REST API: JSON in, JSON out, errors with a code, a sentence and a fix.

export class Refused extends Error {
  constructor(status, body) {
    super(body.message || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || '';
    this.fix = body.fix || '';
    this.rejections = body.rejections || [];
  }
}

let lost = () => {};

/** Called where the session has ended. */
export function onLocked(call) {
  lost = call;
}

export async function api(method, path, body, query = {}) {
  const address = new URL(`/api/${path}`, location.origin);
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') address.searchParams.set(key, value);
  }
  const options = { method, headers: {} };
  if (body instanceof Blob) {
    options.body = body;
    options.headers['content-type'] = body.type || 'application/octet-stream';
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['content-type'] = 'application/json';
  }
  const answer = await fetch(address, options);
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  if (answer.status === 401 && path !== 'login') lost();
  throw new Refused(answer.status, found);
}

export const get = (path, query) => api('GET', path, undefined, query);
export const post = (path, body, query) => api('POST', path, body, query);
export const put = (path, body, query) => api('PUT', path, body, query);
export const drop = (path) => api('DELETE', path);
