//! Pages of lists that are whole unless the query says `limit`: the answer is a part of the list, and `Link` says where it goes on
//! (RFC 8288).

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;

use super::routes::Refused;

/// The longest page.
const LIMIT_MAX: usize = 10_000;

/// Which part of a list is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Page {
    /// The first thing that is wanted; the list's first unless said.
    from: Option<String>,
    /// How many at most; all unless said.
    limit: Option<usize>,
}

impl Page {
    /// What the query says: `from` and `limit`, each once.
    pub(super) fn read(uri: &Uri) -> Result<Self, Refused> {
        let wrong = |part: &str| {
            let error = format!(
                "the query says {part}; it may say from=NAME, where the page before ended, and limit=NUMBER from 1 to {LIMIT_MAX}, each once"
            );
            Refused::new(StatusCode::BAD_REQUEST, error)
        };
        let mut page = Self::default();
        for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let is_twice = match part.split_once('=') {
                Some(("from", value)) if !value.is_empty() => page.from.replace(value.to_owned()).is_some(),
                Some(("limit", value)) => {
                    let number = value.parse().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
                    page.limit.replace(number.ok_or_else(|| wrong(part))?).is_some()
                }
                _ => return Err(wrong(part)),
            };
            if is_twice {
                return Err(wrong(part));
            }
        }
        Ok(page)
    }

    /// That part of `items` in ascending order of `key`, and what the next one begins with; all of them as they are where no page is
    /// asked for. What comes or goes meanwhile moves nothing else from one page to another.
    ///
    /// # Errors
    /// There cannot be such a key.
    pub(super) fn of<T, K: Ord>(
        &self,
        mut items: Vec<T>,
        read: impl Fn(&str) -> Option<K>,
        key: impl Fn(&T) -> K,
        written: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Refused> {
        if self.from.is_some() || self.limit.is_some() {
            items.sort_by_cached_key(&key);
        }
        if let Some(from) = &self.from {
            let error = || {
                format!("from is {from}, which no page ends with; say what `Link` of the page before says")
            };
            let from = read(from).ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, error()))?;
            items.drain(..items.partition_point(|item| key(item) < from));
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let next = items.get(limit).map(written);
        items.truncate(limit);
        Ok((items, next))
    }

    /// Says where the list at `path` goes on.
    pub(super) fn link(&self, mut answer: Response, path: &str, next: Option<String>) -> Response {
        if let (Some(next), Some(limit)) = (next, self.limit)
            && let Ok(link) =
                HeaderValue::try_from(format!("<{path}?from={next}&limit={limit}>; rel=\"next\""))
        {
            answer.headers_mut().insert(header::LINK, link);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Page, String> {
        Page::read(&format!("/v1/ports?{query}").parse().unwrap()).map_err(|refused| refused.1.error)
    }

    fn names(page: &Page, names: &[&str]) -> (Vec<String>, Option<String>) {
        let items: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        page.of(items, |text| Some(text.to_owned()), Clone::clone, Clone::clone).map_err(|it| it.1).unwrap()
    }

    #[test]
    fn pages_follow_one_another_whatever_comes_and_goes() {
        let all = ["a", "b", "c", "d", "e"];
        assert_eq!(names(&read("").unwrap(), &all), (all.map(str::to_owned).to_vec(), None));
        let (first, next) = names(&read("limit=2").unwrap(), &all);
        assert_eq!((first.join(""), next.as_deref()), ("ab".to_owned(), Some("c")));
        // The one that was to come next is gone, and another one came before it.
        let (second, next) = names(&read("from=c&limit=2").unwrap(), &["a", "aa", "b", "d", "e"]);
        assert_eq!((second.join(""), next), ("de".to_owned(), None));
        assert_eq!(names(&read("from=zz").unwrap(), &all), (vec![], None));
        // A list in another order, as leases with those of uplinks behind all others.
        let (first, next) = names(&read("limit=2").unwrap(), &["b", "d", "a", "c"]);
        assert_eq!((first.join(""), next.as_deref()), ("ab".to_owned(), Some("c")));
        let (second, next) = names(&read("from=c&limit=2").unwrap(), &["b", "d", "a", "c"]);
        assert_eq!((second.join(""), next), ("cd".to_owned(), None));
    }

    #[test]
    fn a_query_that_is_not_understood_is_refused() {
        for wrong in [
            "limit=0",
            "limit=10001",
            "limit=x",
            "limit=1&limit=2",
            "from=",
            "from=a&from=b",
            "form=a",
            "limit",
        ] {
            assert!(read(wrong).unwrap_err().contains("it may say from=NAME"), "{wrong}");
        }
    }
}
