//! Clients of the services, built from the usual environment variables.
//!
//! Everything that the client crate knows under `AWS_*`, `AZURE_*` and `GOOGLE_*` is taken, for instance `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`; `AZURE_STORAGE_ACCOUNT_NAME`,
//! `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_TOKEN`, `AZURE_STORAGE_USE_EMULATOR`; `GOOGLE_APPLICATION_CREDENTIALS`. In
//! addition what the services' own tools take: `AZURE_STORAGE_ACCOUNT`, `AZURE_STORAGE_KEY`, `AZURE_STORAGE_CONNECTION_STRING`.
//! Plain HTTP is used only where an endpoint says `http://`. Profile files (`~/.aws/credentials`) are not read.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::backend::{Bucket, RetryPolicy, Service};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client of an object store is built from.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Environment variables: endpoint and credentials.
    pub environment: BTreeMap<String, String>,
    /// How long to go on after failures that may pass.
    pub retry: RetryPolicy,
    /// How long the service may be silent in one request, on top of what the bytes take.
    pub silence: Duration,
}

impl Default for RemoteOptions {
    /// The process's environment and the usual patience.
    fn default() -> Self {
        let plain = |(key, value): (std::ffi::OsString, std::ffi::OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
        Self {
            environment: std::env::vars_os().filter_map(plain).collect(),
            retry: RetryPolicy::default(),
            silence: Duration::from_secs(30),
        }
    }
}

/// A client for the bucket.
pub(super) fn client(bucket: &Bucket, options: &RemoteOptions) -> object_store::Result<Box<dyn ObjectStore>> {
    let name = bucket.name.clone();
    let environment = &options.environment;
    match bucket.service {
        Service::S3 => {
            let endpoint = environment.get("AWS_ENDPOINT_URL_S3").or_else(|| environment.get("AWS_ENDPOINT_URL"));
            let plain = endpoint.is_some_and(|endpoint| is_plain(endpoint));
            let mut builder = AmazonS3Builder::new().with_client_options(client_options(plain)).with_retry(no_retry());
            for (key, value) in known::<AmazonS3ConfigKey>(environment, "AWS_") {
                builder = builder.with_config(key, value);
            }
            // Not every server of this protocol has the request that deletes many objects at once.
            builder = builder.with_conditional_put(S3ConditionalPut::ETagMatch).with_disable_bulk_delete(true);
            Ok(Box::new(builder.with_bucket_name(name).build()?))
        }
        Service::Azure => {
            let settings = azure_settings(environment);
            let plain = settings.get("AZURE_STORAGE_ENDPOINT").is_some_and(|endpoint| is_plain(endpoint));
            let mut builder = MicrosoftAzureBuilder::new().with_client_options(client_options(plain)).with_retry(no_retry());
            for (key, value) in known::<AzureConfigKey>(&settings, "AZURE_") {
                builder = builder.with_config(key, value);
            }
            Ok(Box::new(builder.with_container_name(name).build()?))
        }
        Service::Google => {
            let plain = environment.get("GOOGLE_BASE_URL").is_some_and(|endpoint| is_plain(endpoint));
            let mut builder = GoogleCloudStorageBuilder::new().with_client_options(client_options(plain)).with_retry(no_retry());
            for (key, value) in known::<GoogleConfigKey>(environment, "GOOGLE_") {
                builder = builder.with_config(key, value);
            }
            Ok(Box::new(builder.with_bucket_name(name).build()?))
        }
    }
}

/// The variables that start with `prefix` and are settings of the client.
fn known<K: FromStr>(environment: &BTreeMap<String, String>, prefix: &'static str) -> impl Iterator<Item = (K, String)> {
    let with_prefix = environment.iter().filter(move |(key, _)| key.starts_with(prefix));
    with_prefix.filter_map(|(key, value)| Some((key.to_ascii_lowercase().parse().ok()?, value.clone())))
}

fn is_plain(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

/// Requests have no time limit here: the backend sets one that grows with the size of what is sent.
fn client_options(allow_http: bool) -> ClientOptions {
    ClientOptions::new().with_allow_http(allow_http).with_timeout_disabled().with_connect_timeout(CONNECT_TIMEOUT)
}

/// The client tries nothing again: it would repeat a conditional put whose answer was lost, and report our own object as
/// somebody else's. The backend does it with care.
fn no_retry() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// The environment with what the service's own tools take translated; what is set under the client's names wins.
fn azure_settings(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    if let Some(connection) = environment.get("AZURE_STORAGE_CONNECTION_STRING") {
        let field = |name: &str| {
            let mut fields = connection.split(';').filter_map(|field| field.split_once('='));
            fields.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let account = field("AccountName");
        let endpoint = field("BlobEndpoint").or_else(|| {
            let scheme = field("DefaultEndpointsProtocol").unwrap_or_else(|| "https".to_owned());
            Some(format!("{scheme}://{}.blob.{}", account.as_deref()?, field("EndpointSuffix")?))
        });
        let found = [
            ("AZURE_STORAGE_USE_EMULATOR", field("UseDevelopmentStorage")),
            ("AZURE_STORAGE_ACCOUNT_NAME", account),
            ("AZURE_STORAGE_ACCOUNT_KEY", field("AccountKey")),
            ("AZURE_STORAGE_SAS_TOKEN", field("SharedAccessSignature")),
            ("AZURE_STORAGE_ENDPOINT", endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned())),
        ];
        settings.extend(found.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    for (theirs, ours) in [("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"), ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")] {
        if let Some(value) = environment.get(theirs) {
            settings.insert(ours.to_owned(), value.clone());
        }
    }
    settings.extend(environment.iter().filter(|(key, _)| key.starts_with("AZURE_")).map(|(key, value)| (key.clone(), value.clone())));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_connection_string_is_taken_apart() {
        let text = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5PT0=;EndpointSuffix=core.windows.net";
        let settings = azure_settings(&environment(&[("AZURE_STORAGE_CONNECTION_STRING", text), ("AZURE_STORAGE_KEY", "other")]));
        assert_eq!(settings["AZURE_STORAGE_ACCOUNT_NAME"], "a");
        assert_eq!(settings["AZURE_STORAGE_ACCOUNT_KEY"], "other");
        assert_eq!(settings["AZURE_STORAGE_ENDPOINT"], "https://a.blob.core.windows.net");
        let text = "AccountName=a;AccountKey=a2V5PT0=;BlobEndpoint=http://127.0.0.1:10000/a/";
        let settings = azure_settings(&environment(&[("AZURE_STORAGE_CONNECTION_STRING", text)]));
        assert_eq!(settings["AZURE_STORAGE_ACCOUNT_KEY"], "a2V5PT0=");
        assert_eq!(settings["AZURE_STORAGE_ENDPOINT"], "http://127.0.0.1:10000/a");
    }

    #[test]
    fn only_settings_of_the_service_are_taken() {
        let variables = environment(&[("AWS_REGION", "eu"), ("AWS_NO_SUCH_THING", "x"), ("GOOGLE_BUCKET", "y")]);
        let found: Vec<_> = known::<AmazonS3ConfigKey>(&variables, "AWS_").collect();
        assert_eq!(found, [(AmazonS3ConfigKey::Region, "eu".to_owned())]);
    }
}
