//! Clients of object stores without a service: missing settings, silence, limits.

use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::backend::Service;

fn options(variables: &[(&str, &str)]) -> RemoteOptions {
    let environment = variables.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let wait = Duration::from_millis(1);
    let retry = RetryPolicy { first_wait: wait, longest_wait: wait, most_attempts: 2, ..RetryPolicy::default() };
    RemoteOptions { environment, retry, silence: Duration::from_millis(50) }
}

fn bucket(service: Service) -> Bucket {
    Bucket { service, name: "bucket".to_owned(), prefix: "x".to_owned() }
}

#[test]
fn a_service_without_its_settings_says_where_to_look() {
    let error = ObjectStoreBackend::open(&bucket(Service::Azure), &options(&[])).map(drop).unwrap_err();
    assert!(matches!(&error, BackendError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("Account") && error.to_string().contains("environment"), "{error}");
}

#[test]
fn google_cloud_is_built_on_the_same_path() {
    // Nothing listens on port 1, and nobody else may be asked: without a key the client would look for a metadata service.
    let key = r#"{"gcs_base_url":"http://127.0.0.1:1","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
    let options = options(&[("GOOGLE_SERVICE_ACCOUNT_KEY", key), ("GOOGLE_ALLOW_HTTP", "true")]);
    let store = ObjectStoreBackend::open(&bucket(Service::Google), &options).unwrap();
    let error = store.create("a", b"1").unwrap_err();
    assert!(matches!(&error, BackendError::Io { .. }) && error.to_string().contains("gs://bucket/x"), "{error:?}");
}

#[test]
fn a_service_that_never_answers_is_given_up() {
    // Connections are accepted by the system, and nobody reads from them.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let options = options(&[("AWS_ENDPOINT_URL", &endpoint), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    let store = ObjectStoreBackend::open(&bucket(Service::S3), &options).unwrap();
    let failures = [
        store.create("a", b"1").map(drop).unwrap_err(),
        store.get("a").map(drop).unwrap_err(),
        store.get_range("a", 0..1).map(drop).unwrap_err(),
        store.size_bytes("a").map(drop).unwrap_err(),
        store.list("").map(drop).unwrap_err(),
        store.delete("a").unwrap_err(),
    ];
    for error in failures {
        let text = error.to_string();
        assert!(text.contains("no answer within 50ms") && text.contains("given up after 2 attempts"), "{text}");
    }
}

#[test]
fn an_object_that_does_not_fit_one_request_is_refused() {
    let options = options(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    let store = ObjectStoreBackend::open(&bucket(Service::S3), &options).unwrap();
    check_size(&store.client, "a", MAX_OBJECT_BYTES).unwrap();
    let error = check_size(&store.client, "a", MAX_OBJECT_BYTES + 1).unwrap_err().to_string();
    assert!(error.contains("'a' grows beyond 512 MiB"), "{error}");
}
