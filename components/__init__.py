"""Learning: functions of typed values; nothing here knows where or how it is executed."""
