//! `[http]`: where the metrics are served, if anywhere.

use super::file::Http;
use super::listeners::{self, Listener};
use super::report::Report;
use crate::http::Settings;
use crate::sip::hop::Transport;

/// The settings of HTTP; what is wrong goes to the report.
pub fn settings(http: &Http, listeners: &[Listener], report: &mut Report) -> Settings {
    let Some(written) = &http.bind else {
        return Settings::default();
    };
    let bind = listeners::address(written, ["127.0.0.1:9090", "[::1]:9090"], report);
    let Some(bind) = bind else {
        return Settings::default();
    };
    if bind.port() == 0 {
        report.error(written.span(), "`bind` needs a port that can be asked; 0 is any");
    }
    let is_taken =
        |listener: &&Listener| listener.transport != Transport::Udp && listeners::overlap(listener.bind, bind);
    if let Some(taken) = listeners.iter().find(is_taken) {
        let message = format!("{} is listened on for {} already", taken.bind, taken.transport);
        report.error(written.span(), message).help = Some("HTTP needs a port of its own".to_owned());
    }
    Settings { bind: Some(bind) }
}
