//! The corpus over TLS and HTTP/2, as most vendors serve it: each piece is a frame of its own, a broken
//! answer is a stream that is reset.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::stream::try_unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::{Corpus, RUN_HEADER, Run, Script, TRAILER, reached};
use crate::exchange::pairs;
use crate::tls::{self, Certificate};
use crate::wire::{Message, header};
use crate::{Error, Result};

/// What an answer's body is polled from.
struct Play {
    run: Arc<Run>,
    script: Script,
    next: usize,
    sent: usize,
}

/// Serves the corpus on a free port of the present runtime, besides its own.
pub async fn listen(corpus: &Corpus, certificate: &Certificate) -> Result<SocketAddr> {
    let acceptor = tls::server(certificate, &["h2"])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let corpus = corpus.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, corpus) = (acceptor.clone(), corpus.clone());
            tokio::spawn(async move {
                socket.set_nodelay(true)?;
                let io = TokioIo::new(acceptor.accept(socket).await?);
                let service = service_fn(move |request| answer(corpus.clone(), request));
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .auto_date_header(false)
                    .serve_connection(io, service)
                    .await?;
                Result::Ok(())
            });
        }
    });
    Ok(address)
}

async fn answer(
    corpus: Corpus,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Error>>> {
    let (head, mut incoming) = request.into_parts();
    let mut headers = pairs(&head.headers);
    if let Some(authority) = head.uri.authority() {
        headers.push(("host".to_owned(), authority.to_string()));
    }
    let run = corpus.take(header(&headers, RUN_HEADER).unwrap_or_default())?;
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        if let Some(piece) = frame?.data_ref() {
            body.extend_from_slice(piece);
            run.uploaded.send_replace(body.len());
        }
    }
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let request = Message {
        start: format!("{} {target} HTTP/1.1", head.method),
        headers,
        body,
        is_whole: true,
    };
    let script = (run.answer)(&request, &run.script);
    *run.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
    let mut response = Response::builder().status(script.status);
    for (name, value) in &script.headers {
        response = response.header(name, value);
    }
    if script.is_chunked {
        response = response.header("trailer", TRAILER.0);
    } else {
        let whole: usize = script.pieces.iter().map(|piece| piece.bytes.len()).sum();
        let length = if script.is_complete { whole } else { whole + 1 };
        response = response.header("content-length", length);
    }
    let play = Play {
        run,
        script,
        next: 0,
        sent: 0,
    };
    Ok(response.body(StreamBody::new(try_unfold(play, step)))?)
}

/// The next piece, after the caller has the ones before.
async fn step(mut play: Play) -> Result<Option<(Frame<Bytes>, Play)>> {
    reached(&play.run.received, play.sent, "the answer").await?;
    let frame = match play.script.pieces.get(play.next) {
        Some(piece) => {
            play.sent += piece.visible;
            Frame::data(Bytes::from(piece.bytes.clone()))
        }
        None if !play.script.is_complete => return Err("the answer breaks off".into()),
        None if play.script.is_chunked && play.next == play.script.pieces.len() => {
            let mut trailers = HeaderMap::new();
            trailers.insert(
                HeaderName::from_static(TRAILER.0),
                HeaderValue::from_static(TRAILER.1),
            );
            Frame::trailers(trailers)
        }
        None => return Ok(None),
    };
    play.next += 1;
    Ok(Some((frame, play)))
}
