"""A restaurant's desk that looks up tables, books them, and hands callers on or says goodbye by itself.

Needs TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, OPENAI_API_KEY, and a public name for port 8000.
"""

import asyncio
import datetime

from getpatter import LocalSTT, LocalTTS, Patter, Twilio, tool

phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")

booked: dict[datetime.time, str] = {}


@tool(effect="read")
async def free_tables(earliest: datetime.time) -> list[str]:
    """Times at which a table is free tonight.

    Args:
        earliest: The caller cannot come before this.
    """
    times = [datetime.time(hour) for hour in (18, 19, 20, 21)]
    return [f"{time:%H:%M}" for time in times if time >= earliest and time not in booked]


@tool(reassurance="I am writing it down.")
async def book_table(time: datetime.time, name: str) -> dict[str, str]:
    """Book one of the free tables."""
    if time in booked:
        return {"error": "That table has just been taken."}
    booked[time] = name
    return {"booked": f"{time:%H:%M}", "name": name}


agent = phone.agent(
    system_prompt="You are the desk of a small restaurant. Book tables for tonight. "
    "When the caller says goodbye, say goodbye and hang up. Complaints go to the owner, +15550007777.",
    first_message="Good evening! Would you like a table tonight?",
    stt=LocalSTT(grammar=["[yes] at (seven | eight) please", "goodbye"]),
    tts=LocalTTS(),
    tools=[free_tables, book_table],
    transfer_allow=["+15550007777"],
)

if __name__ == "__main__":
    asyncio.run(phone.serve(agent))
