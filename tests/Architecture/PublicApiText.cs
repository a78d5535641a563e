using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace Vhost.Architecture.Tests;

/// <summary>Renders what an assembly shows to its users, one line a member, sorted.</summary>
internal static class PublicApiText
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    public static string Render(Assembly assembly)
    {
        StringBuilder text = new();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            text.Append(Head(type)).Append('\n');
            foreach (string member in Members(type).Order(StringComparer.Ordinal))
                text.Append("    ").Append(member).Append('\n');
        }

        return text.ToString();
    }

    private static string Head(Type type)
    {
        string flags = type.IsEnum && type.IsDefined(typeof(FlagsAttribute)) ? "[Flags] " : "";
        string above = string.Join(", ", Above(type));
        return $"{flags}{Kind(type)} {ApiNames.Of(type)}{(above.Length == 0 ? "" : " : " + above)}{Constraints(type.GetGenericArguments())}";
    }

    private static string Kind(Type type)
    {
        if (type.IsEnum)
            return "enum";
        if (type.IsInterface)
            return "interface";
        if (typeof(Delegate).IsAssignableFrom(type))
            return "delegate";
        bool record = type.GetMethods(Declared).Any(method => method.Name is "<Clone>$" or "PrintMembers");
        if (type.IsValueType)
        {
            string modifiers = (type.IsDefined(typeof(IsReadOnlyAttribute)) ? "readonly " : "") + (type.IsByRefLike ? "ref " : "");
            return modifiers + (record ? "record struct" : "struct");
        }

        string kind = type is { IsAbstract: true, IsSealed: true } ? "static " : type.IsSealed ? "sealed " : type.IsAbstract ? "abstract " : "";
        return kind + (record ? "record" : "class");
    }

    private static IEnumerable<string> Above(Type type)
    {
        if (type.IsEnum)
            return [ApiNames.Of(Enum.GetUnderlyingType(type))];
        IEnumerable<Type> interfaces = type.GetInterfaces();
        if (type.BaseType is { } parent)
            interfaces = interfaces.Except(parent.GetInterfaces());
        IEnumerable<string> names = interfaces.Where(one => one.IsVisible).Select(one => ApiNames.Of(one)).Order(StringComparer.Ordinal);
        bool plain = type.BaseType is null || type.BaseType == typeof(object) || type.BaseType == typeof(ValueType);
        return plain ? names : names.Prepend(ApiNames.Of(type.BaseType!));
    }

    private static IEnumerable<string> Members(Type type)
    {
        if (type.IsEnum)
        {
            return type.GetFields(BindingFlags.Public | BindingFlags.Static)
                .Select(field => $"{field.Name} = {Convert.ToString(field.GetRawConstantValue(), CultureInfo.InvariantCulture)}");
        }

        return
        [
            .. type.GetConstructors(Declared).Where(IsShown).Where(one => !one.IsStatic).Select(one => $"{Access(one)}new({Parameters(one)})"),
            .. type.GetFields(Declared).Where(one => one.IsPublic || IsProtected(type, one.IsFamily || one.IsFamilyOrAssembly)).Select(Field),
            .. type.GetProperties(Declared).Where(one => one.GetAccessors(nonPublic: true).Any(IsShown)).Select(Property),
            .. type.GetEvents(Declared).Where(one => IsShown(one.AddMethod!)).Select(one => $"event {ApiNames.OfEvent(one)} {one.Name}"),
            .. type.GetMethods(Declared).Where(IsShown).Where(IsWritten).Select(Method),
        ];
    }

    private static bool IsShown(MethodBase method) =>
        method.IsPublic || IsProtected(method.DeclaringType!, method.IsFamily || method.IsFamilyOrAssembly);

    private static bool IsProtected(Type type, bool family) => family && !type.IsSealed;

    // What the compiler writes for a record is in the word "record"; accessors are shown with their property or event.
    private static bool IsWritten(MethodInfo method) =>
        !method.IsDefined(typeof(CompilerGeneratedAttribute))
        && (!method.IsSpecialName || method.Name.StartsWith("op_", StringComparison.Ordinal));

    private static string Field(FieldInfo field)
    {
        string type = ApiNames.OfField(field);
        if (field.IsLiteral)
            return $"const {type} {field.Name} = {Convert.ToString(field.GetRawConstantValue(), CultureInfo.InvariantCulture)}";
        return $"{(field.IsStatic ? "static " : "")}{(field.IsInitOnly ? "readonly " : "")}{type} {field.Name}";
    }

    private static string Property(PropertyInfo property)
    {
        MethodInfo[] accessors = [.. property.GetAccessors(nonPublic: true).Where(IsShown)];
        string required = property.IsDefined(typeof(RequiredMemberAttribute)) ? "required " : "";
        string index = property.GetIndexParameters().Length == 0 ? property.Name : $"this[{Parameters(property.GetIndexParameters())}]";
        string get = accessors.Contains(property.GetMethod) ? " get;" : "";
        bool init = property.SetMethod?.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) == true;
        string set = !accessors.Contains(property.SetMethod) ? "" : init ? " init;" : " set;";
        return $"{Access(accessors[0])}{Modifiers(accessors[0])}{required}{ApiNames.OfProperty(property)} {index} {{{get}{set} }}";
    }

    private static string Method(MethodInfo method)
    {
        string generic = method.IsGenericMethod ? $"<{string.Join(", ", method.GetGenericArguments().Select(one => one.Name))}>" : "";
        return $"{Access(method)}{Modifiers(method)}{ApiNames.OfParameter(method.ReturnParameter)} {method.Name}{generic}({Parameters(method)}){Constraints(method.GetGenericArguments())}";
    }

    private static string Constraints(Type[] parameters) => string.Concat(
        from one in parameters
        let demands = ApiNames.Demands(one)
        where demands.Length > 0
        select $" where {one.Name} : {demands}");

    private static string Access(MethodBase method) => method.IsPublic ? "" : "protected ";

    private static string Modifiers(MethodInfo method)
    {
        string modifiers = method.IsStatic ? "static " : "";
        if (method.DeclaringType!.IsInterface)
            return modifiers + (method.IsAbstract ? "" : "default ");
        bool overrides = method.GetBaseDefinition() != method;
        return modifiers + (overrides ? "override " : method is { IsVirtual: true, IsFinal: false } ? method.IsAbstract ? "abstract " : "virtual " : "");
    }

    private static string Parameters(MethodBase method) => Parameters(method.GetParameters());

    private static string Parameters(IEnumerable<ParameterInfo> parameters) => string.Join(", ", parameters.Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        string value = parameter.HasDefaultValue
            ? " = " + (parameter.RawDefaultValue switch
            {
                null => parameter.ParameterType.IsValueType ? "default" : "null",
                string one => $"\"{one}\"",
                bool one => one ? "true" : "false",
                var one => Convert.ToString(one, CultureInfo.InvariantCulture),
            })
            : "";
        bool any = parameter.IsDefined(typeof(ParamArrayAttribute)) || parameter.IsDefined(typeof(ParamCollectionAttribute));
        return $"{(any ? "params " : "")}{ApiNames.OfParameter(parameter)} {parameter.Name}{value}";
    }
}
