//! A node's figures, served where the config says.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use pegaflow_metrics::{Exporter, Metrics};

use crate::{
    Error,
    config::{HostPort, Listen},
};

/// Serves figures, where they are to be served.
pub(crate) fn serve(metrics: &Metrics, listen: &Listen) -> Result<Option<Exporter>, Error> {
    let Listen::At(at) = listen else {
        return Ok(None);
    };
    let started = resolve(at).and_then(|address| Exporter::start(metrics.clone(), address));
    match started {
        Ok(exporter) => Ok(Some(exporter)),
        Err(source) => Err(Error::MetricsListen { listen: listen.clone(), source }),
    }
}

fn resolve(at: &HostPort) -> io::Result<SocketAddr> {
    let nothing = || io::Error::new(io::ErrorKind::NotFound, format!("`{}` has no address", at.host()));
    (at.host(), at.port()).to_socket_addrs()?.next().ok_or_else(nothing)
}
