//! Embed the engine in a service: events come in over the service's own protocol, and the service reacts to whoever
//! enters a segment.
//!
//! Here that is a TCP server which takes one JSON event a line and answers with the epoch that holds it; a profile
//! that becomes loyal gets a coupon. With an HTTP framework it looks the same: the engine is a handle, and handlers
//! hold clones of it.

use std::{error::Error, time::Duration};

use tidewater::{Change, Engine, Pipeline, Subscription, Update, pipeline::FixedEnvironment};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

type Failure = Box<dyn Error + Send + Sync>;

const PIPELINE: &str = "
identifiers: { user_id: { from: userId } }
traits:      { orders: { count: Order Completed } }
segments:    { loyal: orders >= 3 }
";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let pipeline = Pipeline::from_yaml(PIPELINE, &FixedEnvironment::new())?;
    // `.state("./state")` would keep a log, so that nothing is lost at a restart.
    let engine = Engine::builder(&pipeline).in_memory().start().await?;

    let (coupons, mut handed_out) = mpsc::channel(16);
    let reacting = tokio::spawn(hand_out_coupons(engine.subscribe("loyal")?, coupons));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(serve(listener, engine.clone()));

    // A client: three orders of one user, and a line that is no event.
    let (answers, mut requests) = TcpStream::connect(address).await?.into_split();
    let mut answers = BufReader::new(answers).lines();
    for order in 1..=3 {
        let event =
            format!(r#"{{"type":"track","event":"Order Completed","messageId":"m{order}","userId":"u42"}}"#);
        requests.write_all(format!("{event}\n").as_bytes()).await?;
        let answer = answers.next_line().await?.ok_or("the service hung up")?;
        assert!(answer.starts_with("epoch "), "{answer}");
    }
    requests.write_all(b"hello?\n").await?;
    assert_eq!(answers.next_line().await?.as_deref(), Some("refused"));

    let coupon = handed_out.recv().await.ok_or("nobody hands out coupons")?;
    println!("a coupon for {coupon}");
    assert_eq!(coupon, "u42");

    serving.abort();
    engine.shutdown(Duration::from_secs(5)).await?;
    // The subscription has ended with the engine.
    reacting.await??;
    Ok(())
}

async fn serve(listener: TcpListener, engine: Engine) -> Result<(), Failure> {
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(handle(connection, engine.clone()));
    }
}

/// Answers a line once its event can't be lost any more. The event is part of the results from that epoch on.
async fn handle(connection: TcpStream, engine: Engine) -> Result<(), Failure> {
    let (requests, mut answers) = connection.into_split();
    let mut lines = BufReader::new(requests).lines();
    while let Some(line) = lines.next_line().await? {
        let accepted = engine.ingest(line).await?;
        let answer = match accepted.quarantined {
            0 => format!("epoch {}\n", accepted.epoch),
            // It is kept, with the reason, and can be fed again: see `Engine::quarantine` and `Engine::redrive`.
            _ => "refused\n".to_owned(),
        };
        answers.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn hand_out_coupons(mut loyal: Subscription, coupons: mpsc::Sender<String>) -> Result<(), Failure> {
    // The first update, a snapshot, holds whoever was loyal before; they have their coupon.
    while let Some(update) = loyal.next().await? {
        let Update::Delta(delta) = update else { continue };
        if delta.get().change() != Change::Entered {
            continue;
        }
        for (_, user) in delta.get().identifiers() {
            coupons.send(user.to_owned()).await?;
        }
    }
    Ok(())
}
