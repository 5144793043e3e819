// Rewrites recipients by regular expressions, and holds messages back whose text fits one. The README says how.

// Each instance has a config of its own, which `init` sets once before the first call.
let rules = [];
let slow = null;

// The error of WIT's `result`: what is thrown as a string is its text.
function refuse(text) {
  throw text;
}

// Makes what else is thrown an error with a text: what the host refused is an exception with the host's text as its
// `payload`; any other would be a trap, and the log would only say that there was one.
function told(callback) {
  try {
    return callback();
  } catch (error) {
    throw error?.payload ?? String(error);
  }
}

function checkKeys(table, place, known) {
  if (table === null || typeof table !== 'object' || Array.isArray(table)) refuse(`${place}: must be a table`);
  for (const key of Object.keys(table)) {
    if (!known.includes(key)) refuse(`${place}: unknown key \`${key}\`; there are ${known.join(', ')}`);
  }
}

function pattern(text, place) {
  if (typeof text !== 'string') refuse(`${place}: must be a regular expression`);
  try {
    return new RegExp(text, 'iu');
  } catch (error) {
    return refuse(`${place}: ${error.message}`);
  }
}

function readConfig(config) {
  checkKeys(config, 'config', ['rules', 'slow']);
  if (!Array.isArray(config.rules ?? [])) refuse('rules: must be a list of tables');
  rules = (config.rules ?? []).map((entry, index) => {
    const place = `rules[${index}]`;
    checkKeys(entry, place, ['match', 'to']);
    if (typeof entry.to !== 'string') refuse(`${place}.to: must be a text`);
    return { match: pattern(entry.match, `${place}.match`), to: entry.to };
  });
  if (config.slow === undefined) return;
  checkKeys(config.slow, 'slow', ['text', 'delay_seconds']);
  const seconds = config.slow.delay_seconds;
  if (!Number.isInteger(seconds) || seconds < 0) refuse('slow.delay_seconds: must be a number of seconds');
  slow = { text: pattern(config.slow.text, 'slow.text'), delay: BigInt(seconds) * 1000n };
}

// The interface `lifecycle`.
export const lifecycle = {
  init(configJson) {
    told(() => readConfig(JSON.parse(configJson)));
  },
};

// The interface `rewrite`. Session, envelope and message are lent for the call: to use one later is a trap. An error
// drops the edits, and the plugin's `on_error` decides.
export const rewrite = {
  rewrite(session, envelope, message) {
    told(() => edit(session, envelope, message));
  },
};

function edit(session, envelope, message) {
  const changed = rewriteRecipients(envelope);
  // From outside it would be a lie.
  message.removeHeader('X-Rewritten-For');
  if (changed.length > 0) {
    envelope.setAttribute('rewritten', String(changed.length));
    // A field would tell each recipient about the others.
    if (envelope.recipientCount() === 1) message.appendHeader('X-Rewritten-For', changed[0]);
  }
  if (slow !== null && textFits(message, slow.text)) {
    // `option<u64>` is a BigInt or undefined.
    const before = envelope.delay() ?? 0n;
    if (before < slow.delay) envelope.setDelay(slow.delay);
    message.prependHeader('X-Slowed', `${session.listener()}, ${message.size()} octets`);
  }
}

// Applies the first rule that fits to each recipient; says what the changed ones were.
function rewriteRecipients(envelope) {
  const changed = [];
  // From the last to the first: one that is a recipient already moves those after it up.
  for (let index = envelope.recipientCount() - 1; index >= 0; index--) {
    const address = envelope.recipient(index);
    const rule = rules.find(({ match }) => match.test(address));
    if (rule === undefined) continue;
    const replacement = address.replace(rule.match, rule.to);
    if (replacement === address) continue;
    envelope.replaceRecipient(index, replacement);
    changed.push(address);
  }
  return changed;
}

// Does the text of one of the message's parts fit?
function textFits(message, expression) {
  let fits = false;
  for (const part of message.parts()) {
    // The parts are the plugin's own, unlike the message: each is given back when it is done with.
    try {
      if (!fits && part.contentType().startsWith('text/')) fits = expression.test(textOf(part));
    } finally {
      part[Symbol.dispose]();
    }
  }
  return fits;
}

// A part's text; of one that is larger than the host gives (1 MiB), none.
function textOf(part) {
  try {
    return part.text();
  } catch (error) {
    if (String(error?.payload).startsWith('too-large:')) return '';
    throw error;
  }
}
