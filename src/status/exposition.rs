//! The formats of `/metrics`: OpenMetrics, and the classic text format of Prometheus.
//!
//! Scrapers say in `Accept` what they read. Prometheus asks for OpenMetrics; collectors of other vendors ask for
//! `text/plain` and fail on OpenMetrics' types and its `# EOF`. As in Prometheus' own Go client, OpenMetrics is for those
//! who name it, and everyone else gets the classic format.

use axum::http::{HeaderMap, header};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

impl Format {
    /// The format for a request with these headers.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(header::ACCEPT).into_iter();
        let ranges = lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','));
        // The quality of each format, and of the wildcards.
        let (mut open, mut classic) = (None, None);
        let (mut text, mut all) = (None, None);
        for range in ranges {
            let (name, quality) = read(range);
            let place = match name.as_str() {
                "application/openmetrics-text" => &mut open,
                "text/plain" => &mut classic,
                "text/*" => &mut text,
                "*/*" => &mut all,
                _ => continue,
            };
            *place = Some(place.map_or(quality, |known: f32| known.max(quality)));
        }
        // The most specific range counts for a format.
        let classic = classic.or(text).or(all).unwrap_or(0.0);
        match open {
            Some(open) if open > 0.0 && open >= classic => Self::OpenMetrics,
            _ => Self::Classic,
        }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A range of `Accept` in lower case without its parameters, and its quality: 1 if none is given, 0 if it cannot be read.
fn read(range: &str) -> (String, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let quality = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
    (name, if quality >= 0.0 { quality } else { 0.0 })
}

/// OpenMetrics text in the classic format: the names of families are those of their samples, only types that the format has,
/// neither units nor an end.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    // The help comes before the type, which decides on the name of both.
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), about) => help = Some(about.unwrap_or_default()),
            (Some("#"), Some("TYPE"), Some(name), kind) => {
                let (suffix, kind) = match kind.unwrap_or_default() {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    "gaugehistogram" => ("", "histogram"),
                    other => ("", other),
                };
                if let Some(about) = help.take() {
                    text += &format!("# HELP {name}{suffix} {about}\n");
                }
                text += &format!("# TYPE {name}{suffix} {kind}\n");
            }
            (Some("#"), ..) => {}
            // A sample: no metric here has an exemplar, which the format would not know.
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(accept: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        Format::asked_for(&headers)
    }

    #[test]
    fn a_scraper_gets_the_format_that_it_asks_for() {
        // Prometheus 2 and 3, as they ask.
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            &[prometheus_2][..],
            &[prometheus_3],
            &["application/openmetrics-text"],
            &["Application/OpenMetrics-Text; version=1.0.0"],
            &["text/plain;q=0.2, application/openmetrics-text;q=0.3"],
            &["text/plain;q=0.5", "application/openmetrics-text"],
            &["*/*;q=0.1, application/openmetrics-text ; Q = 0.2"],
        ] {
            assert_eq!(asked(accept), Format::OpenMetrics, "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/plain"],
            &["text/plain;version=0.0.4"],
            &["text/html,application/xhtml+xml,*/*;q=0.8"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.3, text/plain;q=0.9"],
            &["application/openmetrics-text;q=0.3, text/*"],
            &["application/openmetrics-text;q=high"],
            &["application/json"],
            &[""],
            &[";;q=,,="],
        ] {
            assert_eq!(asked(accept), Format::Classic, "{accept:?}");
        }
    }

    #[test]
    fn the_classic_format_has_its_own_types_and_no_end() {
        let open = "# HELP b_build The program.\n# TYPE b_build info\nb_build_info{version=\"1 # 2\"} 1\n\
                    # HELP b_frames Frames, by kind.\n# TYPE b_frames counter\nb_frames_total{kind=\"a b\"} 3\n\
                    # HELP b_s A time.\n# TYPE b_s histogram\n# UNIT b_s s\nb_s_sum 0.5\nb_s_count 1\n\
                    b_s_bucket{le=\"+Inf\"} 1\n\
                    # HELP b_x \n# TYPE b_x unknown\nb_x NaN\n# EOF\n";
        let expected = "# HELP b_build_info The program.\n# TYPE b_build_info gauge\nb_build_info{version=\"1 # 2\"} 1\n\
                        # HELP b_frames_total Frames, by kind.\n# TYPE b_frames_total counter\nb_frames_total{kind=\"a b\"} 3\n\
                        # HELP b_s A time.\n# TYPE b_s histogram\nb_s_sum 0.5\nb_s_count 1\nb_s_bucket{le=\"+Inf\"} 1\n\
                        # HELP b_x \n# TYPE b_x untyped\nb_x NaN\n";
        assert_eq!(classic(open), expected);
    }
}
