//! `pegaflow config check|show`.

use pegaflow::config::{Config, Origin};

use crate::{
    Failure,
    args::{ConfigArgs, ConfigCommand},
};

pub(crate) fn run(arguments: &ConfigArgs) -> Result<(), Failure> {
    match &arguments.what {
        ConfigCommand::Check { file } => {
            let config = Config::load(file)?;
            let (nodes, channels) = (config.nodes.len(), config.channels.len());
            println!("{}: good: backend {}, {nodes} nodes, {channels} channels", file.display(), config.backend);
        }
        ConfigCommand::Show { file, backend, json } => {
            let mut config = file.as_ref().map_or_else(|| Ok(Config::default()), Config::load)?;
            if let Some(backend) = backend {
                config.override_backend(*backend);
            }
            show(&config, *json)?;
        }
    }
    Ok(())
}

fn show(config: &Config, json: bool) -> Result<(), Failure> {
    let settings = config.effective();
    if json {
        let all: Vec<_> = settings
            .iter()
            .map(|one| serde_json::json!({"key": one.key, "value": one.value, "origin": one.origin.to_string()}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let width = |text: fn(&pegaflow::config::Setting) -> usize| settings.iter().map(text).max().unwrap_or(0);
    let (keys, values) = (width(|one| one.key.len()), width(|one| one.value.len()));
    for one in &settings {
        let mark = if matches!(one.origin, Origin::Default) { ' ' } else { '*' };
        println!("{mark} {:keys$} = {:values$}  {}", one.key, one.value, one.origin);
    }
    Ok(())
}
