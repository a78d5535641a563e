using System.Reflection;

namespace Vhost.Architecture.Tests;

/// <summary>Types as C# writes them, with what may be null.</summary>
internal static class ApiNames
{
    private static readonly Dictionary<Type, string> _keywords = new()
    {
        [typeof(void)] = "void",
        [typeof(object)] = "object",
        [typeof(string)] = "string",
        [typeof(bool)] = "bool",
        [typeof(byte)] = "byte",
        [typeof(sbyte)] = "sbyte",
        [typeof(short)] = "short",
        [typeof(ushort)] = "ushort",
        [typeof(int)] = "int",
        [typeof(uint)] = "uint",
        [typeof(long)] = "long",
        [typeof(ulong)] = "ulong",
        [typeof(nint)] = "nint",
        [typeof(nuint)] = "nuint",
        [typeof(double)] = "double",
    };

    private static readonly NullabilityInfoContext _nullability = new();

    public static string OfField(FieldInfo field) => Of(field.FieldType, _nullability.Create(field));

    public static string OfProperty(PropertyInfo property) => Of(property.PropertyType, _nullability.Create(property));

    public static string OfEvent(EventInfo one) => Of(one.EventHandlerType!, _nullability.Create(one));

    public static string OfParameter(ParameterInfo parameter)
    {
        Type type = parameter.ParameterType;
        NullabilityInfo? info = type.IsPointer ? null : _nullability.Create(parameter);
        if (!type.IsByRef)
            return Of(type, info);
        string way = parameter.IsOut ? "out " : parameter.IsIn ? "in " : "ref ";
        return way + Of(type.GetElementType()!, info?.ElementType ?? info);
    }

    public static string Of(Type type, NullabilityInfo? info = null)
    {
        if (Nullable.GetUnderlyingType(type) is { } value)
            return Of(value, info?.GenericTypeArguments is [var inner] ? inner : null) + "?";
        string mark = !type.IsValueType && (info?.ReadState == NullabilityState.Nullable || info?.WriteState == NullabilityState.Nullable) ? "?" : "";
        if (type.IsArray)
            return $"{Of(type.GetElementType()!, info?.ElementType)}[]{mark}";
        return Name(type, info) + mark;
    }

    /// <summary>What a type parameter must be; empty when anything goes.</summary>
    public static string Demands(Type parameter)
    {
        List<string> demands = [];
        GenericParameterAttributes attributes = parameter.GenericParameterAttributes;
        bool unmanaged = parameter.CustomAttributes.Any(one => one.AttributeType.Name == "IsUnmanagedAttribute");
        if (unmanaged)
            demands.Add("unmanaged");
        else if (attributes.HasFlag(GenericParameterAttributes.NotNullableValueTypeConstraint))
            demands.Add("struct");
        else if (attributes.HasFlag(GenericParameterAttributes.ReferenceTypeConstraint))
            demands.Add("class");
        demands.AddRange(parameter.GetGenericParameterConstraints().Where(one => one != typeof(ValueType)).Select(one => Of(one)));
        return string.Join(", ", demands);
    }

    private static string Name(Type type, NullabilityInfo? info)
    {
        if (_keywords.TryGetValue(type, out string? keyword))
            return keyword;
        string outer = type is { IsNested: true, IsGenericParameter: false } ? Name(type.DeclaringType!, null) + "." : "";
        if (!type.IsGenericType)
            return outer + type.Name;
        Type[] arguments = type.GetGenericArguments();
        int tick = type.Name.IndexOf('`', StringComparison.Ordinal);
        string name = tick < 0 ? type.Name : type.Name[..tick];
        IEnumerable<string> written = arguments.Select((one, i) => Of(one, info?.GenericTypeArguments.ElementAtOrDefault(i)));
        return $"{outer}{name}<{string.Join(", ", written)}>";
    }
}
