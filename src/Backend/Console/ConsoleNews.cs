namespace Vhost.Backend;

/// <summary>What a driver has to be told about a port, in the order in which it is told. A set, so that it stays small however slow the driver is.</summary>
[Flags]
internal enum ConsoleNews
{
    None = 0,
    Add = 1 << 0,
    Console = 1 << 1,
    Name = 1 << 2,
    Resize = 1 << 3,
    Open = 1 << 4,
    All = (1 << 5) - 1,
}
