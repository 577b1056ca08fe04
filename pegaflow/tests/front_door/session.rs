//! Sessions: two nodes of one config, up and connected.

use std::{net::TcpListener, thread};

use pegaflow::{
    Class, Error, Port, Session, State,
    config::{BackendName, Choice, Config},
};

/// `a` dials `b` for kv and bulk, and itself for activations.
pub(crate) fn config() -> Config {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let text = format!(
        "[node.a]\nlisten = \"{}\"\nrole = \"prefill\"\n[node.b]\nlisten = \"{}\"\nrole = \"decode\"\n\
         [[channel]]\nfrom = \"a\"\nto = \"b\"\nclass = \"kv\"\n[[channel]]\nfrom = \"a\"\nto = \"b\"\nclass = \"bulk\"\n\
         [[channel]]\nfrom = \"a\"\nto = \"a\"\nclass = \"activation\"\n[rendezvous]\nconnect_timeout_ms = 5000\n",
        first.local_addr().unwrap(),
        second.local_addr().unwrap()
    );
    Config::parse(&text, "test.toml").unwrap()
}

#[test]
fn both_ends_of_every_channel_come_up_and_carry_the_same_epoch() {
    let config = config();
    let theirs = config.clone();
    let other = thread::spawn(move || {
        let session = Session::open(&theirs, "b").unwrap();
        let mut port = session.node().port(()).unwrap();
        let channels = [Class::Kv, Class::Bulk].map(|class| session.connect(&mut port, "a", class).unwrap());
        let states = channels.map(|channel| port.state(channel));
        // Held until the other side has seen its own.
        session.fetch("a", "seen").unwrap();
        states
    });
    let session = Session::open(&config, "a").unwrap();
    let mut port = session.node().port(()).unwrap();
    let channels = [Class::Kv, Class::Bulk].map(|class| session.connect(&mut port, "b", class).unwrap());
    let states = channels.map(|channel| port.state(channel));
    assert!(states.iter().all(|state| matches!(state, Some(State::Up { .. }))), "{states:?}");
    assert_eq!(port.peer(channels[0]), Some("b"));
    session.publish("seen", *b"yes").unwrap();
    assert_eq!(other.join().unwrap(), states);
}

#[test]
fn a_node_connects_to_itself() {
    let session = Session::open(&config(), "a").unwrap();
    let mut port = session.node().port(()).unwrap();
    let channel = session.connect(&mut port, "a", Class::Activation).unwrap();
    assert!(matches!(port.state(channel), Some(State::Up { .. })));
}

#[test]
fn a_channel_that_the_config_does_not_have_is_named_beside_those_it_has() {
    let session = Session::open(&config(), "a").unwrap();
    let mut port = session.node().port(()).unwrap();
    let error = session.connect(&mut port, "b", Class::Activation).unwrap_err().to_string();
    assert!(error.contains("no [[channel]] of class `activation` between `a` and `b`"), "{error}");
    assert!(error.contains("a -> b (kv)"), "{error}");
}

#[test]
fn a_peer_that_never_comes_is_an_error_on_both_sides() {
    let mut config = config();
    config.rendezvous.connect_timeout_ms = 200;
    let session = Session::open(&config, "a").unwrap();
    let mut port = session.node().port(()).unwrap();
    assert!(matches!(session.connect(&mut port, "b", Class::Kv), Err(Error::Rendezvous(_))));
    drop((port, session));
    let session = Session::open(&config, "b").unwrap();
    let mut port = session.node().port(()).unwrap();
    let error = session.connect(&mut port, "a", Class::Kv).unwrap_err();
    assert!(matches!(error, Error::NotDialled { .. }), "{error}");
}

#[test]
fn a_backend_that_is_not_there_says_why() {
    for (backend, why) in [(BackendName::Rdma, "can't be loaded"), (BackendName::Ucx, "not built yet")] {
        let mut config = config();
        config.override_backend(backend);
        config.transport.rdma.library = Choice::Given("/no/such/libibverbs.so.1".parse().unwrap());
        let error = Session::open(&config, "a").unwrap_err().to_string();
        let built = pegaflow::built().contains(&backend.as_str());
        let expected = if built { why } else { "built without" };
        assert!(error.contains(expected), "{error}");
    }
    assert!(Session::open(&config(), "c").unwrap_err().to_string().contains("node `c`"));
}

#[test]
fn figures_are_served_where_the_config_says_and_nowhere_else() {
    let mut config = config();
    let session = Session::open(&config, "a").unwrap();
    assert_eq!(session.metrics_addr(), None);
    drop(session);
    config.metrics.listen = "0".parse().unwrap();
    let session = Session::open(&config, "a").unwrap();
    let at = session.metrics_addr().unwrap();
    assert!(at.ip().is_loopback());
    assert_eq!(session.fetch("a", "pegaflow/metrics").unwrap(), at.to_string().as_bytes());
    // Another node finds the address taken.
    config.metrics.listen = at.to_string().parse().unwrap();
    let error = Session::open(&config, "b").unwrap_err().to_string();
    assert!(error.starts_with(&format!("`metrics.listen` is {at}: ")), "{error}");
    assert!(error.ends_with("; port 0 is any free one"), "{error}");
    drop(session);
    std::net::TcpStream::connect(at).unwrap_err();
}
