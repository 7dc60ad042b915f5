//! `/tenants/{tenant}` in front of a vendor's path: Intel's clients can be given a base URL and nothing else, so whose baseline
//! is meant stands in the path. It is taken off at the front door; what is below it is what it is without.

use http::uri::PathAndQuery;
use http::{Request, Uri};

use crate::baseline::Tenant;

/// Below whom a path is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Below<'a> {
    /// Below no tenant.
    Nobody,
    /// Below a tenant of this name, whom there may be or not.
    Tenant {
        /// The name.
        name: &'a str,
        /// The rest, from its slash on.
        path: &'a str,
    },
    /// Below what is no tenant's name.
    Wrong,
}

/// Below whom a path is.
pub fn below(path: &str) -> Below<'_> {
    let Some(rest) = path.strip_prefix(PREFIX) else {
        return Below::Nobody;
    };
    match rest.split_once('/') {
        Some((name, after)) if name.parse::<Tenant>().is_ok() => Below::Tenant {
            name,
            path: rest.get(rest.len() - after.len() - 1..).unwrap_or("/"),
        },
        Some(("default", after)) => Below::Tenant {
            name: "default",
            path: rest.get(rest.len() - after.len() - 1..).unwrap_or("/"),
        },
        Some(_) | None => Below::Wrong,
    }
}

/// Whether a path is the operator's and nobody's tenant's.
pub fn is_operations(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/healthz/") || path.starts_with(PREFIX)
}

/// The request with `path` instead of the one it has; its query stays.
pub fn without<B>(request: Request<B>, path: &str) -> Option<Request<B>> {
    let (mut head, body) = request.into_parts();
    let target = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
    head.uri = Uri::from_parts(parts).ok()?;
    Some(Request::from_parts(head, body))
}

const PREFIX: &str = "/tenants/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_tenants_and_their_near_misses() {
        assert_eq!(
            below("/tenants/acme/sgx/certification/v4/tcb"),
            Below::Tenant {
                name: "acme",
                path: "/sgx/certification/v4/tcb"
            }
        );
        assert_eq!(
            below("/tenants/acme//x"),
            Below::Tenant {
                name: "acme",
                path: "//x"
            }
        );
        for nobody in [
            "/tenants",
            "/Tenants/acme/x",
            "/tenant/acme/x",
            "/x/tenants/acme/y",
        ] {
            assert_eq!(below(nobody), Below::Nobody, "{nobody}");
        }
        for wrong in [
            "/tenants/acme",
            "/tenants//x",
            "/tenants/Acme/x",
            "/tenants/sgx/x",
            "/tenants/tdx/x",
            "/tenants/floor/x",
            "/tenants/a%63me/x",
            "/tenants/a_b/x",
        ] {
            assert_eq!(below(wrong), Below::Wrong, "{wrong}");
        }
        let request = Request::get("/tenants/acme/a?b=c")
            .body(())
            .expect("a request");
        let without = without(request, "/a").expect("a path");
        assert_eq!(without.uri(), "/a?b=c");
    }
}
