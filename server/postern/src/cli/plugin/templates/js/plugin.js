// Adds a header field to each message.

/** The interface `lifecycle`: called once in each new instance. */
export const lifecycle = {
  /** Throws a text to refuse the config; it names the key. */
  init(configJson) {
    for (const key of Object.keys(JSON.parse(configJson))) {
      throw `unknown key \`${key}\`: this plugin has no config`;
    }
  },
};

/** The interface `rewrite`: called for each message before it is queued. */
export const rewrite = {
  /** What the host refuses is thrown: the edits are dropped and the plugin's `on_error` decides. */
  rewrite(session, envelope, message) {
    message.appendHeader("X-Tagged", "yes");
  },
};
