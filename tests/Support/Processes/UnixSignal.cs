namespace Vhost.Tests.Support;

/// <summary>Numbers of signals on Linux.</summary>
public static class UnixSignal
{
    public const int HangUp = 1;
    public const int Interrupt = 2;
    public const int Kill = 9;
    public const int Terminate = 15;
    public const int Stop = 19;
}
