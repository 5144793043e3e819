//! A real Rspamd, with a config of its own that needs no network: rules that find markers in the body, and an action for
//! each. It knows no language, asks no DNS and learns nothing.

use crate::{Daemon, free_port};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const RSPAMD: &str = "/usr/bin/rspamd";
const LUA: &str = "/usr/share/rspamd/plugins";

/// A running Rspamd. A body with `marker-NAME` provokes an action: `reject`, `subject` (rewrite subject), `header` (add
/// header), `greylist`, `soft` (soft reject), `text` (reject with a text for the client). All others are `no action`. It asks
/// to remove X-Remove-Me, and to add X-Spam-Level at the bottom and Authentication-Results on top.
pub struct Rspamd {
    // Ended before its folder goes.
    _daemon: Daemon,
    dir: TempDir,
    /// Where its worker listens.
    pub port: u16,
}

impl Rspamd {
    /// Starts it.
    ///
    /// # Panics
    /// It is not there (`make test` installs it) or does not start.
    #[must_use]
    pub fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let place = dir.path();
        std::fs::create_dir(place.join("languages")).expect("a folder");
        std::fs::write(place.join("domains"), "com\nnet\norg\nexample\n").expect("a list of top-level domains");
        std::fs::write(place.join("rspamd.conf"), config(place, port)).expect("a config");
        let log = std::fs::File::create(place.join("log")).expect("a log");
        let mut command = Command::new(RSPAMD);
        command.args(["--no-fork", "--insecure", "--config"]).arg(place.join("rspamd.conf"));
        command.stdout(Stdio::null()).stderr(log);
        // Its children end with it, but not by SIGKILL.
        let daemon = Daemon::start_ending_with(command, port, libc::SIGTERM);
        Self { _daemon: daemon, dir, port }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its log: a line for each message, with queue id, sender, recipients and symbols.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn config(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    let rule = |name: &str, score: f64| {
        format!("POSTERN_{} = {{ re = \"/marker-{name}/{{body}}\", score = {score} }};\n", name.to_uppercase())
    };
    let rules: String =
        [("reject", 20.0), ("subject", 11.0), ("header", 7.0), ("greylist", 5.0), ("soft", 0.5), ("text", 0.5)]
            .map(|(name, score)| rule(name, score))
            .concat();
    format!(
        "options {{
    filters = \"regexp\";
    max_message = 104857600;
    task_timeout = 60s;
    tempdir = \"{dir}\";
    pidfile = \"{dir}/pid\";
    history_file = \"{dir}/history\";
    hs_cache_dir = \"{dir}\";
    control_socket = \"{dir}/control mode=0600\";
    url_tld = \"{dir}/domains\";
    disable_hyperscan = true;
    dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 100ms; retransmits = 1; }}
}}
lang_detection {{ languages = \"{dir}/languages\"; }}
logging {{ type = \"console\"; level = \"info\"; }}
worker \"normal\" {{ bind_socket = \"127.0.0.1:{port}\"; count = 1; }}
modules {{
    path = \"{LUA}/force_actions.lua\";
    path = \"{LUA}/milter_headers.lua\";
}}
actions {{
    reject = 15;
    rewrite_subject = 10;
    add_header = 6;
    greylist = 4;
    subject = \"*** SPAM *** %s\";
}}
regexp {{
{rules}}}
force_actions {{
    rules {{
        SOFT {{ action = \"soft reject\"; expression = \"POSTERN_SOFT\"; }}
        TEXT {{ action = \"reject\"; expression = \"POSTERN_TEXT\"; message = \"The marker was found\"; }}
    }}
}}
milter_headers {{
    use = [\"x-spam-level\", \"remove-headers\", \"authentication-results\"];
    skip_local = false;
    skip_authenticated = false;
    routines {{ remove-headers {{ headers {{ \"X-Remove-Me\" = 0; }} }} }}
}}
"
    )
}
